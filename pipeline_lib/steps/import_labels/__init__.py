"""The verb `import-labels`."""
