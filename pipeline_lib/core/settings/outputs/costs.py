"""Settings of the price list, and of who pays."""

from collections.abc import Iterator

from pydantic import Field

from pipeline_lib.core.settings.base import NotNegativeFloat, Settings

PRICES = ("cpu_hour", "gpu_hour", "kwh", "gb_month")


class CostSettings(Settings):
    """Price what a run used; results do not depend on it."""

    currency: str = Field("", description="Currency of the prices, such as EUR.")
    cpu_hour: NotNegativeFloat | None = Field(
        None, description="Price of an hour of processor time of one core; null: not priced."
    )
    gpu_hour: NotNegativeFloat | None = Field(
        None, description="Price of an hour of one GPU that a job could use."
    )
    kwh: NotNegativeFloat | None = Field(
        None, description="Price of a kilowatt hour, where the machine measures its energy."
    )
    gb_month: NotNegativeFloat | None = Field(
        None, description="Price of storing a gigabyte (10^9 bytes) for a month."
    )
    group: str = Field(
        "",
        description="Column of the sheet that costs are summed by, such as lab or grant; empty: "
        "none.",
    )

    @property
    def priced(self) -> bool:
        """Tell whether anything has a price."""
        return any(getattr(self, name) is not None for name in PRICES)

    def list_problems(self) -> Iterator[str]:
        """Yield the contradictions between settings."""
        if self.priced and not self.currency.strip():
            yield "`costs.currency`: the price list has no currency: name it, such as EUR"
        if self.currency.strip() and not self.priced:
            yield (
                f"`costs.currency`: {self.currency}, but nothing has a price: give one of "
                + ", ".join(f"`costs.{name}`" for name in PRICES)
            )
