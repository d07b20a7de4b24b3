"""What the kinds of source that find a lesion on diffusion MR share: the rows they read, and the ADC."""

from __future__ import annotations

from pydantic import Field

from cohorts.folder.source import ImageName, LesionSource, OnScanSource
from cohorts.images.scan import ScanImage
from cohorts.store.findings import ScanFacts
from flows.cases.case import OpenCase
from flows.cases.native_scan import PreparedScan, facts, prepared


class DiffusionSource(OnScanSource, LesionSource):
    """A lesion found on diffusion MR: the image of high b-value, with ADC, with b = 0, or alone."""

    modality: str = Field("dwi", description="Which rows of scans.tsv hold the image of b >= 800 s/mm2")
    adc: str = Field("adc", description="Which rows hold the ADC, where there is one")
    b0: str = Field("dwi-b0", description="Which rows hold the image of b = 0, from which a missing ADC is computed")
    b_value_s_mm2: float = Field(1000, gt=0, le=5000, description="b-value of the first, used where ADC is computed")

    @property
    def scans(self) -> tuple[str, ...]:
        """The image of high b-value, then ADC and b = 0."""
        return (self.modality, self.adc, self.b0)

    @property
    def image_kind(self) -> ImageName:
        """Diffusion MR."""
        return "dwi"

    def read(self, case: OpenCase) -> tuple[PreparedScan, ScanImage | None, ScanImage | None, dict[str, ScanFacts]]:
        """The image of high b-value, prepared; ADC and b = 0, None where they are absent; their grids by modality.

        Raises
        ------
        ImageProblemError
            One of the images cannot be used.
        """
        kinds = {self.adc: "adc", self.b0: "dwi-b0"}
        images = {
            file.modality: case.image(file, kinds.get(file.modality, "dwi"), self.forms) for file in case.case.files
        }
        scan = prepared(case, case.first, self.image_kind, self.forms, self.registration)
        others = {name: facts(one) for name, one in images.items() if name != case.first.modality}
        return scan, images.get(self.adc), images.get(self.b0), others
