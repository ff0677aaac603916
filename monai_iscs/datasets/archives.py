# SPDX-License-Identifier: Apache-2.0
"""The public data sets that can be prepared, with their licences and citations; quick to import."""

from __future__ import annotations

from dataclasses import dataclass

UNTRIED = (
    "Read with code that was tested on small files in this archive's layout, never on the archive itself: "
    "look at some volumes before you train."
)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A public data set.

    Attributes:
        name: at the command line.
        title: its full name.
        modality: CT, in HU, or MR, in the scanner's signal units.
        licence: in one sentence.
        citations: what its authors ask users to cite.
        doi: of the data, else of the paper that describes them; "" if there is none.
        page: where it is downloaded.
    """

    name: str
    title: str
    modality: str
    licence: str
    citations: tuple[str, ...]
    doi: str
    page: str

    def terms(self) -> str:
        """Licence and citations, and what was tested, as lines of text."""
        cite = "".join(f"  {citation}\n" for citation in self.citations)
        return f"{self.title}, {self.page}\nLicence: {self.licence}\nPlease cite:\n{cite}{UNTRIED}\n"


_CHALLENGE = (
    "McCollough C. H. et al. (2017), Low-dose CT for the detection and classification of metastatic liver lesions: "
    "results of the 2016 Low Dose CT Grand Challenge, Med. Phys. 44(10):e339-e352, doi:10.1002/mp.12345"
)
_KNOWN = (
    Archive(
        name="aapm-2016",
        title="2016 NIH-AAPM-Mayo Clinic Low Dose CT Grand Challenge",
        modality="CT",
        licence="terms of Mayo Clinic and the AAPM, as on the page of the download.",
        citations=(_CHALLENGE,),
        doi="10.1002/mp.12345",
        page="https://www.aapm.org/GrandChallenge/LowDoseCT/",
    ),
    Archive(
        name="ldct",
        title="LDCT-and-Projection-data (Low Dose CT Image and Projection Data)",
        modality="CT",
        licence="CC BY 4.0 for chest and abdomen; heads have controlled access. The page of the collection decides.",
        citations=(
            "McCollough C. et al. (2020), Low Dose CT Image and Projection Data (LDCT-and-Projection-data), "
            "The Cancer Imaging Archive, doi:10.7937/9NPB-2637",
            "Moen T. R. et al. (2021), Low-dose CT image and projection dataset, Med. Phys. 48:902-911, "
            "doi:10.1002/mp.14594",
            "Clark K. et al. (2013), The Cancer Imaging Archive (TCIA), J. Digit. Imaging 26:1045-1057, "
            "doi:10.1007/s10278-013-9622-7",
        ),
        doi="10.7937/9NPB-2637",
        page="https://www.cancerimagingarchive.net/collection/ldct-and-projection-data/",
    ),
    Archive(
        name="ixi",
        title="IXI (Information eXtraction from Images), T1-weighted",
        modality="MR",
        licence="CC BY-SA 3.0.",
        citations=("IXI dataset, https://brain-development.org/ixi-dataset/ (EPSRC GR/S21533/02)",),
        doi="",
        page="https://brain-development.org/ixi-dataset/",
    ),
    Archive(
        name="deep-lesion",
        title="DeepLesion (NIH Clinical Center)",
        modality="CT",
        licence="terms of the NIH Clinical Center, as in the documents beside the download; name it as the source.",
        citations=(
            "Yan K., Wang X., Lu L., Summers R. M. (2018), DeepLesion: automated mining of large-scale lesion "
            "annotations and universal lesion detection with deep learning, J. Med. Imaging 5(3):036501, "
            "doi:10.1117/1.JMI.5.3.036501",
        ),
        doi="10.1117/1.JMI.5.3.036501",
        page="https://nihcc.app.box.com/v/DeepLesion",
    ),
    Archive(
        name="abdomen-atlas",
        title="AbdomenAtlas",
        modality="CT",
        licence="CC BY-NC-SA 4.0: no commercial use; the data sets that it was made of have terms of their own.",
        citations=(
            "Qu C. et al. (2023), AbdomenAtlas-8K: annotating 8,000 CT volumes for multi-organ segmentation in three "
            "weeks, NeurIPS 2023, arXiv:2305.09666",
            "Li W. et al. (2024), AbdomenAtlas: a large-scale, detailed-annotated, & multi-center dataset for "
            "efficient transfer learning and open algorithmic benchmarking, Med. Image Anal. 97:103285, "
            "doi:10.1016/j.media.2024.103285",
        ),
        doi="10.1016/j.media.2024.103285",
        page="https://github.com/MrGiovanni/AbdomenAtlas",
    ),
)
ARCHIVES = {archive.name: archive for archive in _KNOWN}
