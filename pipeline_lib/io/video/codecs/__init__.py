"""Numbers and times of pictures in the bitstreams of codecs."""
