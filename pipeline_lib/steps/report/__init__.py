"""Run the verb `report`."""
