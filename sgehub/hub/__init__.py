"""JupyterHub's vocabulary: spawner, form, handlers, configuration."""
