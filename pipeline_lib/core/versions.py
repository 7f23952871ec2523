"""Number the version of each step: raise it when the same inputs give other results.

Snakemake does not see a change inside an imported package; these numbers are among the
parameters of each rule and in the key of each result, so that raising one reruns the step.
"""

PROBE = 4
SELECT_FRAMES = 1
IMPORT_LABELS = 2
# The rules for settings that are `auto`: part of the key of import-labels where there are any.
CHOOSE_SETTINGS = 3
MAKE_TARGETS = 2
# Clips, and how trainings see them.
MAKE_CLIPS = 3
TRAIN = 1
IMPORT_MODEL = 1
EVALUATE = 4
CHOOSE_PRECISION = 2
INFER = 3
# The choice of still frames: part of the key of infer where `inference.still` is `auto`.
STILL = 2
# Poses that another tool found, as they are read.
EXISTING_POSES = 2
TRACK = 3
CORRECT = 1
FILTER = 1
EXPORT = 2
KINEMATICS = 1
RENDER = 5
RENDER_SESSIONS = 4
CALIBRATE = 2
TRIANGULATE = 5
EXPORT_SESSIONS = 1
CORRECT_VIEWS = 1
REFINE = 2
QUALITY = 1
JUDGE = 3
REPORT = 7
MULTIQC = 1
STATUS = 1
