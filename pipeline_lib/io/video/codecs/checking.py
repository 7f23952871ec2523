"""List the codecs that need another decoder than FFmpeg's own to tell damaged pictures.

FFmpeg's own decoders of these take damaged pictures for good ones. Those of libvpx notice that a
picture does not end where its data do; of undamaged pictures they make the same, as fast.
"""

# By FFmpeg's names.
CHECKING_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
