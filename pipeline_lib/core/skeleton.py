"""Define the skeleton: named bodyparts, the edges that join them, and left-right pairs."""

from collections import Counter
from itertools import combinations
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline_lib.core.untrusted.names import find_text_problem

# Name that the locator of several animals gives to the centre of one.
CENTRE = "centre"


class Skeleton(BaseModel):
    """Name the bodyparts in the order of every keypoint axis, with edges and symmetries."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bodyparts: tuple[str, ...] = Field((), description="Names; empty: taken from the labels.")
    edges: tuple[tuple[str, str], ...] = Field((), description="Pairs of bodyparts to join.")
    symmetries: tuple[tuple[str, str], ...] = Field(
        (), description="Pairs of bodyparts that a mirror exchanges."
    )
    unique_bodyparts: tuple[str, ...] = Field(
        (),
        description="Those bodyparts that each frame shows once, independent of the number of "
        "animals, such as a corner of the cage (DeepLabCut's `uniquebodyparts`).",
    )

    @field_validator("bodyparts")
    @classmethod
    def _check_texts(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if problem := find_text_problem(name):
                raise ValueError(f"a bodypart's name {problem}: {name!r}")
        return names

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        repeated = [name for name, count in Counter(self.bodyparts).items() if count > 1]
        if repeated:
            raise ValueError(f"bodyparts listed twice: {', '.join(repeated)}")
        unknown = [
            name for name in self.unique_bodyparts if self.bodyparts and name not in self.bodyparts
        ]
        if unknown:
            raise ValueError(f"unique_bodyparts name unknown bodyparts: {', '.join(unknown)}")
        for field in ("edges", "symmetries"):
            for pair in getattr(self, field):
                unknown = [name for name in pair if self.bodyparts and name not in self.bodyparts]
                if unknown:
                    raise ValueError(f"{field} name unknown bodyparts: {', '.join(unknown)}")
                if pair[0] == pair[1]:
                    raise ValueError(f"{field} join {pair[0]} with itself")
                if field == "edges" and set(pair) & set(self.unique_bodyparts):
                    raise ValueError(f"edges join a unique bodypart: {' and '.join(pair)}")
        partners = Counter(name for pair in self.symmetries for name in pair)
        ambiguous = [name for name, count in partners.items() if count > 1]
        if ambiguous:
            raise ValueError(f"symmetries name {', '.join(ambiguous)} twice")
        return self

    def with_bodyparts(self, bodyparts: tuple[str, ...]) -> "Skeleton":
        """Return the skeleton completed with bodyparts taken from the labels."""
        return Skeleton(**{**self.model_dump(), "bodyparts": bodyparts})

    @property
    def edge_indices(self) -> tuple[tuple[int, int], ...]:
        """Edges as pairs of positions on the keypoint axis."""
        return tuple((self.bodyparts.index(a), self.bodyparts.index(b)) for a, b in self.edges)

    @property
    def all_pairs(self) -> tuple[tuple[int, int], ...]:
        """Every pair of bodyparts of an animal, as positions on the keypoint axis."""
        return tuple(combinations(self.animal_indices, 2))

    @property
    def unique_indices(self) -> tuple[int, ...]:
        """Positions of the unique bodyparts on the keypoint axis."""
        return tuple(self.bodyparts.index(name) for name in self.unique_bodyparts)

    @property
    def animal_indices(self) -> tuple[int, ...]:
        """Positions on the keypoint axis of the bodyparts that every animal has."""
        unique = set(self.unique_bodyparts)
        return tuple(i for i, name in enumerate(self.bodyparts) if name not in unique)

    @property
    def mirrored_order(self) -> tuple[int, ...]:
        """Position of each bodypart's left-right partner; its own where it has none."""
        order = list(range(len(self.bodyparts)))
        for left, right in self.symmetries:
            i, j = self.bodyparts.index(left), self.bodyparts.index(right)
            order[i], order[j] = j, i
        return tuple(order)
