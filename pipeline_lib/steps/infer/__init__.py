"""Run the verb `infer`."""
