"""How the processes of one replica talk: a channel of messages between the supervisor and each worker, and sockets
handed over. See docs/cores.md.
"""
