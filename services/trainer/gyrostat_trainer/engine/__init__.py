"""Which library does the work.

Delta and DuckDB for rows, a child process for a job, ONNX Runtime for the evaluation.
"""
