def write_figures(folder, rows):
    pass
