"""For the step m0014 alone, and as frozen as it is: which media the parts of dataset versions show."""

from __future__ import annotations

import re
import zlib

from postil.v1.dataset_service_pb2 import MultiDatasetVersionInputResponse

_DIGEST = re.compile(r"[0-9a-f]{64}")


def digests_in_part(content: bytes) -> set[str]:
    """Media of its inputs, masks of its annotations."""
    found: set[str] = set()
    for one in MultiDatasetVersionInputResponse.FromString(zlib.decompress(content)).inputs:
        for data in (one.input.data, *(annotation.data for annotation in one.annotations)):
            media = (data.image.hosted, data.video.hosted, data.audio.hosted, data.text.hosted)
            masks = (region.region_info.mask.image.hosted for region in data.regions)
            found.update(hosted.suffix for hosted in (*media, *masks) if _DIGEST.fullmatch(hosted.suffix))
    return found
