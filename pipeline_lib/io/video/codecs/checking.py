"""List the codecs that need another decoder than FFmpeg's own to tell damaged pictures.

FFmpeg's own decoder of VP9 takes damaged pictures for good ones. That of libvpx notices that a
picture does not end where its data do; of undamaged pictures it makes the same, as fast.
"""

# By FFmpeg's names.
CHECKING_DECODERS = {"vp9": "libvpx-vp9"}
