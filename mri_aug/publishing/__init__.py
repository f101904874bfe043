"""From notebooks to pages: execution by papermill, rendering by jupyter-book, and the hooks into both."""
