"""ONNX Runtime: graphs tried out in a process of their own, then opened here.

Imports nothing by itself: the trial process needs little of it.
"""
