"""Data sets and results as people want to see them: tables for the terminal, one page for the browser."""
