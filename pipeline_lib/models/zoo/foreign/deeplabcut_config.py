"""Read the values of a ``pytorch_config.yaml`` of DeepLabCut 3 that a network depends on."""

import math

from pipeline_lib.models.card import (
    CropLayout,
    DeconvolutionLayout,
    DeepLabCutLayout,
    DetectorLayout,
)
from pipeline_lib.models.zoo.foreign.values import PlainValues

HEAD = "bodypart"
_REFINEMENT_SCALE = 7.2801
_CROP_SIDE = 256
_LOWEST_SCORE = 0.01
_SSD = "ssdlite320_mobilenet_v3_large"
# What may be done to an image before a network sees it, each checked where it matters.
_KNOWN_STEPS = frozenset({"normalize_images", "auto_padding", "top_down_crop", "resize"})
_MOST_INDIVIDUALS = 1000


class ConfigReader(PlainValues):
    """Read the values of a config that a network depends on."""

    @property
    def top_down(self) -> bool:
        """Tell whether the network sees what a detector found."""
        method = str(self.get("method", str, "bu")).lower()
        if method not in ("bu", "td"):
            raise self.refuse(
                f"`method` is {method}: networks that need the poses of another network are not "
                "read; expected bu or td"
            )
        return method == "td"

    def read_bodyparts(self) -> tuple[str, ...]:
        """Return the names along the keypoint axis."""
        return self.read_names("metadata.bodyparts", "a bodypart")

    def count_individuals(self) -> int:
        """Return the largest number of animals in a frame."""
        count = len(self.get("metadata.individuals", list))
        if not 0 < count <= _MOST_INDIVIDUALS:
            raise self.refuse(f"`metadata.individuals` must be 1 to {_MOST_INDIVIDUALS} names")
        return count

    def read_layout(self) -> tuple[DeepLabCutLayout, float]:
        """Return the layout and the unit of offsets, or refuse a network that is not known."""
        self._check_input("")
        heads = self.get("model.heads", dict)
        if set(heads) != {HEAD} or self.get("model.neck", dict, {}):
            raise self.refuse(
                f"`model.heads` are {', '.join(map(str, heads))}: expected the head {HEAD} alone, "
                "without a neck; networks of identities or unique bodyparts are not read"
            )
        head, backbone = f"model.heads.{HEAD}", "model.backbone"
        self.require(f"{head}.type", "HeatmapHead")
        self.require(f"{head}.predictor.type", "HeatmapPredictor")
        kind = self.get(f"{backbone}.type", str)
        if kind not in ("ResNet", "HRNet"):
            raise self.refuse(f"`{backbone}.type` is {kind}: expected ResNet or HRNet")
        refined = self.get(f"{head}.predictor.location_refinement", bool, default=True)
        scale = float(self.get(f"{head}.predictor.locref_std", float, _REFINEMENT_SCALE))
        if not 0.0 < scale < math.inf:
            raise self.refuse(f"`{head}.predictor.locref_std` is {scale}")
        layout = DeepLabCutLayout(
            backbone=kind,
            model_name=self.get(f"{backbone}.model_name", str),
            output_stride=(
                self.get(f"{backbone}.output_stride", int, 32)
                if kind == "ResNet"
                else self.get(f"{backbone}.stride", int, 4)
            ),
            interpolate_branches=self.get(f"{backbone}.interpolate_branches", bool, default=False),
            increased_channel_count=self.get(
                f"{backbone}.increased_channel_count", bool, default=False
            ),
            heatmap=self._read_deconvolutions(f"{head}.heatmap_config"),
            locref=self._read_deconvolutions(f"{head}.locref_config") if refined else None,
            sigmoid=self.get(f"{head}.predictor.apply_sigmoid", bool, default=True),
            crop=self._read_crop() if self.top_down else None,
        )
        return layout, scale

    def read_detector(self) -> DetectorLayout:
        """Return the layout of the detector, or refuse one that is not known."""
        self._check_input("detector.")
        kind = self.get("detector.model.type", str)
        names = {"SSDLite": _SSD, "FasterRCNN": "fasterrcnn_mobilenet_v3_large_fpn"}
        if kind not in names:
            raise self.refuse(
                f"`detector.model.type` is {kind}: expected {' or '.join(sorted(names))}"
            )
        variant = names[kind]
        if kind == "FasterRCNN":
            variant = self.get("detector.model.variant", str, variant)
        score = self.get("detector.model.box_score_thresh", float, _LOWEST_SCORE)
        known = DetectorLayout.model_fields["variant"].annotation
        if variant not in known.__args__:  # type: ignore[union-attr]
            raise self.refuse(f"`detector.model.variant` is {variant}: is not known")
        if not 0.0 <= score <= 1.0:
            raise self.refuse(f"`detector.model.box_score_thresh` is {score}: expected 0 to 1")
        return DetectorLayout(variant=variant, score_threshold=float(score))

    def _read_crop(self) -> CropLayout:
        where = "data.inference.top_down_crop"
        if not self.get(f"{where}.crop_with_context", bool, default=True):
            raise self.refuse(f"`{where}.crop_with_context` is false: only true is read")
        sides = {
            name: self.get(f"{where}.{name}", int, default)
            for name, default in (("width", _CROP_SIDE), ("height", _CROP_SIDE), ("margin", 0))
        }
        if min(sides["width"], sides["height"]) < 1 or sides["margin"] < 0:
            raise self.refuse(f"`{where}` is {sides}: expected positive numbers")
        return CropLayout(**sides)

    def _check_input(self, where: str) -> None:
        """Refuse a network that sees other than frames as they are, or crops of them."""
        self.require(f"{where}data.colormode", "RGB", default="RGB")
        steps = f"{where}data.inference"
        self.require(f"{steps}.normalize_images", expected=True, default=False)
        found = self.get(steps, dict)
        other = [name for name in found if name not in _KNOWN_STEPS and found[name]]
        other += ["resize"] if found.get("resize") else []
        if other:
            raise self.refuse(f"`{steps}.{other[0]}` is set: expected frames as they are")

    def _read_deconvolutions(self, where: str) -> DeconvolutionLayout:
        final = self.get(f"{where}.final_conv", dict, {})
        return DeconvolutionLayout(
            channels=self._get_integers(f"{where}.channels"),
            kernel_size=self._get_integers(f"{where}.kernel_size"),
            strides=self._get_integers(f"{where}.strides"),
            final_channels=self.get(f"{where}.final_conv.out_channels", int) if final else 0,
            final_kernel=self.get(f"{where}.final_conv.kernel_size", int) if final else 0,
        )

    def _get_integers(self, where: str) -> tuple[int, ...]:
        found = self.get(where, list)
        if not all(isinstance(one, int) and not isinstance(one, bool) for one in found):
            raise self.refuse(f"`{where}` must be whole numbers, found {found}")
        return tuple(found)
