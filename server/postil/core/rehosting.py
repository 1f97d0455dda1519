"""Keeping hosted URLs right when the public base URL changes.

Stored messages hold absolute URLs, since they are spliced into responses as they are. When the server starts under
another base than last time, every message that names a blob is rewritten, before the server says it is ready.
"""

from __future__ import annotations

from collections.abc import Iterator

from postil.core.drafts import MEDIA
from postil.core.hosting import Hosting, digest_of
from postil.core.regions import region_of
from postil.store.base import AnnotationRecord, InputRecord, Store, Transaction
from postil.v1.annotation_pb2 import Annotation
from postil.v1.image_pb2 import HostedURL
from postil.v1.input_pb2 import Input

_SETTING = "public_url"
_CHUNK = 500


def rehost(store: Store, hosting: Hosting) -> int:
    """Rewrites what was written under another base URL; returns how many inputs that were.

    The setting is put last, so that a crash in between starts over; rewriting twice does no harm.
    """
    before = store.read().setting(_SETTING)
    if before == hosting.base:
        return 0
    count = 0
    if before is not None:
        for chunk in _chunks(store):
            store.write(lambda tx, chunk=chunk: _rewrite(tx, chunk, before, hosting))  # type: ignore[misc]
            count += len(chunk)
    store.write(lambda tx: tx.put_setting(_SETTING, hosting.base))
    return count


def _chunks(store: Store) -> Iterator[list[InputRecord]]:
    after = 0
    while chunk := store.read().hosted_inputs(after, _CHUNK):
        yield chunk
        after = chunk[-1].row


def _rewrite(tx: Transaction, chunk: list[InputRecord], before: str, hosting: Hosting) -> None:
    for record in tx.inputs_by_row([record.row for record in chunk]).values():
        message = Input.FromString(record.message)
        for name in MEDIA:
            medium = getattr(message.data, name)
            if medium.ByteSize():
                medium.url = _moved(medium.url, medium.hosted, before, hosting)
        tx.replace_input(record.row, message.SerializeToString())
    masks = {}
    for annotation in tx.annotations_of_inputs([record.row for record in chunk]):
        moved = _with_mask(annotation, before, hosting)
        if moved:
            masks[annotation.row] = moved
    tx.replace_messages(masks)


def _with_mask(record: AnnotationRecord, before: str, hosting: Hosting) -> bytes:
    """The message with its mask under the new base; empty when it has none of ours."""
    message = Annotation.FromString(record.message)
    region = region_of(message.data)
    if region is None or not digest_of(region.region_info.mask.image.hosted):
        return b""
    image = region.region_info.mask.image
    image.url = _moved(image.url, image.hosted, before, hosting)
    return message.SerializeToString()


def _moved(url: str, hosted: HostedURL, before: str, hosting: Hosting) -> str:
    """The url under the new base when it was ours; `hosted` is changed in place."""
    digest = digest_of(hosted)
    if not digest:
        return url
    hosted.prefix = hosting.prefix
    return hosting.url(digest) if url.startswith(before) else url
