"""JupyterHub on Grid Engine.

Imports nothing, so that the session program, which lives on execution hosts, stays small.
"""
