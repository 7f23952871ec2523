"""Label, correct and proofread in the browser: the page that ``cohortpose label`` serves.

- `server` starts the page, `access` admits only those who have its token;
- `project` holds the run, `frames` reads its frames, `frame_list` lists those worth labelling;
- `annotations` joins labels, corrections and predictions of a frame, and saves corrections;
- `proofreaders` joins tracks, doubts and decisions of a video, and saves decisions;
- `routes` and `track_routes` answer the page's requests, `page` lays out its views; `script` is
  what runs in the browser.

Only the command line knows this package.
"""
