"""Test that VP9 pictures with a flipped bit are told, though FFmpeg's own decoder takes them."""

import av

from pipeline_lib.io.video.decode import choose_decoder
from pipeline_lib.io.video.reader import VideoReader
from tests.video_corpus import encode, read_number

_OPTIONS = {"deadline": "realtime", "cpu-used": "8"}
_DAMAGED, _GROUP = 30, 12


def test_a_flipped_bit_costs_the_rest_of_its_group(tmp_path):
    path = encode(tmp_path / "a.webm", "libvpx-vp9", frames=48, gop=_GROUP, options=_OPTIONS)
    with av.open(path) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        content, chosen = bytes(packets[_DAMAGED]), choose_decoder(container.streams.video[0])
    assert chosen.name == "libvpx-vp9"
    data = path.read_bytes()
    start = data.index(content)
    told = 0
    # Within the arithmetic code, behind the header.
    for at in range(len(content) // 2, len(content) - 4, max(1, len(content) // 12)):
        damaged = bytearray(data)
        damaged[start + at] ^= 0x10
        path.write_bytes(damaged)
        with VideoReader(path) as reader:
            assert reader.facts.codec == "vp9"
            found = [None if image is None else read_number(image) for _, image in reader.read()]
        spoilt = range(_DAMAGED, _DAMAGED // _GROUP * _GROUP + _GROUP)
        assert [found[i] for i in range(48) if i not in spoilt] == [
            i for i in range(48) if i not in spoilt
        ]
        told += all(found[row] is None for row in spoilt)
    assert told >= 5
