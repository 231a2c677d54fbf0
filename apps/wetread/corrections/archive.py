"""What a DICOMweb archive holds: searches, metadata and whole instances."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from pydicom import Dataset

from wetread.errors import DestinationUnavailableError, InputError
from wetread.receive.multipart import (
    MultipartReader,
    PartData,
    PartEnd,
    PartStart,
    content_type_of,
)

_JSON = "application/dicom+json"
_INSTANCES = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_PAGE = 200


class Archive:
    """The service root of a DICOMweb origin (PS3.18), such as http://host:8042/dicom-web."""

    def __init__(
        self, url: str, timeout_seconds: float = 60.0, *, client: httpx.Client | None = None
    ) -> None:
        """`client` has what the archive wants to know of us; it is closed with this."""
        self.url = url.rstrip("/")
        self._client = client or httpx.Client(timeout=timeout_seconds)

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    def series(self, **filters: str) -> list[Dataset]:
        """Every series that fits (QIDO-RS), page by page. Raises DestinationUnavailableError."""
        found: list[Dataset] = []
        seen: set[str] = set()
        while True:
            query = {**filters, "limit": str(_PAGE), "offset": str(len(found))}
            page = [_dataset(each) for each in self._json("series", query)]
            new = [each for each in page if str(each.SeriesInstanceUID) not in seen]
            found += new
            seen |= {str(each.SeriesInstanceUID) for each in new}
            # An archive that knows no offset gives the same page for ever.
            if len(page) < _PAGE or not new:
                return found

    def metadata(self, study: str, series: str) -> list[Dataset]:
        """Of every instance of a series, without its pixels. Raises DestinationUnavailableError."""
        path = f"studies/{study}/series/{series}/metadata"
        return [_dataset(each) for each in self._json(path, {})]

    def fetch(self, folder: Path, study: str, series: str, instance: str = "") -> list[Path]:
        """A series, or one instance of it, as files in `folder`.

        Raises DestinationUnavailableError, and InputError for an answer that is cut short.
        """
        path = f"studies/{study}/series/{series}"
        if instance:
            path += f"/instances/{instance}"
        try:
            with self._client.stream(
                "GET", f"{self.url}/{path}", headers={"Accept": _INSTANCES}
            ) as answer:
                self._check(answer, path)
                _, parameters = content_type_of(answer.headers.get("Content-Type", ""))
                reader = MultipartReader(parameters.get("boundary", ""))
                files = list(_files(reader, answer.iter_bytes(), folder))
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if not reader.is_complete or not files:
            raise InputError(
                f"{self.url}/{path}: the answer is cut short after {len(files)} instances",
                hint="it is asked again the next time",
            )
        return files

    def _json(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        try:
            answer = self._client.get(
                f"{self.url}/{path}", params=dict(query), headers={"Accept": _JSON}
            )
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if answer.status_code == httpx.codes.NO_CONTENT:
            return []
        self._check(answer, path)
        try:
            found: list[dict[str, Any]] = answer.json()
        except json.JSONDecodeError as error:
            raise InputError(
                f"{self.url}/{path} gives no JSON: {error}", hint="is that its service root?"
            ) from error
        return found

    def _check(self, answer: httpx.Response, path: str) -> None:
        if answer.status_code != httpx.codes.OK:
            raise DestinationUnavailableError(
                f"{self.url}/{path} answers HTTP {answer.status_code}",
                hint="url must be the service root, such as http://host:8042/dicom-web",
            )

    def _unreachable(self, error: httpx.HTTPError) -> DestinationUnavailableError:
        return DestinationUnavailableError(
            f"{self.url} cannot be reached: {error}", hint="is the archive up?"
        )


def _dataset(entry: dict[str, Any]) -> Dataset:
    """Without what lies elsewhere: pixels are fetched with the whole instance."""
    return Dataset.from_json(entry, bulk_data_uri_handler=lambda _uri: None)


def _files(reader: MultipartReader, chunks: Iterator[bytes], folder: Path) -> Iterator[Path]:
    number = 0
    parts: list[bytes] = []
    for chunk in chunks:
        for event in reader.feed(chunk):
            match event:
                case PartStart():
                    parts = []
                case PartData(data):
                    parts.append(bytes(data))
                case PartEnd():
                    number += 1
                    path = folder / f"{number:05}.dcm"
                    path.write_bytes(b"".join(parts))
                    yield path
