"""Write small SLEAP files with sleap-io."""

import numpy as np
import sleap_io as sio

NAN = float("nan")


class Project:
    """Collect labelled frames and save them.

    Attributes
    ----------
    skeleton, tracks, frames
        sleap-io's objects, for what the methods do not offer.
    """

    def __init__(self, bodyparts=("nose", "tail"), edges=(("nose", "tail"),), symmetries=()):
        self.skeleton = sio.Skeleton(list(bodyparts), list(edges), list(symmetries))
        self.tracks, self.videos, self.frames = {}, {}, {}

    def video(self, filename, *, there=False):
        """Return the video of a file name, made when it is first asked for.

        A list is a video of images, which have to be there; other files only if said so.
        """
        key = str(filename)
        if key not in self.videos:
            there = there or isinstance(filename, list)
            absent = None if there else sio.Video(filename, open_backend=False)
            self.videos[key] = absent or sio.Video.from_filename(filename)
        return self.videos[key]

    def add(self, filename, frame, points, track=None, *, predicted=False, source=None):
        """Add an instance; points are pairs x, y of each bodypart, None where not visible."""
        video = self.video(filename)
        number = (id(video), frame)
        if number not in self.frames:
            self.frames[number] = sio.LabeledFrame(video=video, frame_idx=frame)
        array = np.array([(NAN, NAN) if point is None else point for point in points], float)
        kind = sio.PredictedInstance if predicted else sio.Instance
        instance = kind.from_numpy(array, skeleton=self.skeleton)
        if track is not None:
            instance.track = self.tracks.setdefault(track, sio.Track(track))
        instance.from_predicted = source
        self.frames[number].instances.append(instance)
        return instance

    def save(self, path, *, embed=False):
        labels = sio.Labels(list(self.frames.values()), videos=list(self.videos.values()))
        sio.save_slp(labels, str(path), embed=embed, verbose=False)
        return path
