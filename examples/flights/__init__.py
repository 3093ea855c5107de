"""The demo: a model that predicts late flights, served, watched and retrained by Gyrostat over a real year."""
