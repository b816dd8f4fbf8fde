"""What `import marginface` offers: each function does the work of the command of its name."""
