"""Predicts parts of a job, one after the other: films are read ahead, and results written, while the network works."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raycxr.errors import DataError, StorageError
from raycxr.postprocess.rule import apply_rules
from raycxr.prediction.batch_job import DONE, FAILED, JobSettings, Part, note_part
from raycxr.prediction.decision import shared_rules
from raycxr.prediction.film_reader import FilmReader, OpenedFilm
from raycxr.prediction.inputs import InputFilm
from raycxr.prediction.outputs import Outputs
from raycxr.prediction.predictor import load_predictor
from raycxr.storage.failures import MissingError
from raycxr.storage.location import Location
from raycxr.xray.resize import undo_letterbox

# Decoding, PNG compression and the network's own operators all run outside of Python's lock.
READERS = WRITERS = 2


class PartPredictor:
    """Networks that are loaded once, and asked about part after part.

    Parameters
    ----------
    settings : JobSettings
    device : torch.device or None
        None for the GPU if there is one.

    Raises
    ------
    DataError, ConfigurationError
        A bundle is damaged, or the networks do not go together.
    """

    def __init__(self, settings: JobSettings, device: torch.device | None = None) -> None:
        self.settings, self.out = settings, Location(settings.out)
        self.predictor = load_predictor([Location(uri) for uri in settings.networks], settings.test_time, device)
        self.rules = shared_rules(self.predictor.bundles)
        self.classes = self.predictor.target.classes
        self.reader = FilmReader(self.predictor.size, self.predictor.bundles[0].intensity, settings.cache)
        self.outputs = Outputs(self.out, settings.formats, self.classes, "-".join(settings.models))

    def predict(self, part: Part) -> list[dict[str, Any]]:
        """Predict a part, write its files and its note.

        Returns
        -------
        list of dict
            One per film: `name`, `original`, `status` (done or failed); of a film that is done `height`, `width`,
            `pixels` (class -> pixels of its mask), `image_probabilities` and `run_lengths` where there are some, of one
            that failed `reason`.

        Raises
        ------
        StorageError
            Results cannot be written, or a bucket does not answer.
        """
        rows: list[dict[str, Any]] = []
        writing: deque[Future[dict[str, Any]]] = deque()
        with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(WRITERS) as writers:
            for batch in self._batches(part.films, readers):
                opened = [(film, found) for film, found in batch if isinstance(found, OpenedFilm)]
                rows += [_failed(film, found) for film, found in batch if not isinstance(found, OpenedFilm)]
                if not opened:
                    continue
                squares = torch.from_numpy(np.stack([found.square for _, found in opened]))
                prediction = self.predictor.predict(squares)
                maps = prediction.masks.cpu().numpy()
                images = None if prediction.images is None else prediction.images.cpu().numpy()
                for number, (film, found) in enumerate(opened):
                    of_image = None if images is None else images[number]
                    writing.append(writers.submit(self._finish, film, found, maps[number], of_image))
                # No more results wait in memory than those of one batch.
                while len(writing) > self.settings.batch_size:
                    rows.append(writing.popleft().result())
            rows += [future.result() for future in writing]
        note_part(part, rows, self.out)
        return rows

    def _batches(
        self, films: Sequence[InputFilm], readers: ThreadPoolExecutor
    ) -> Iterator[list[tuple[InputFilm, OpenedFilm | str]]]:
        """Films in batches, the next of which is read meanwhile; a reason in place of one that cannot be."""
        size = self.settings.batch_size
        chunks = [films[start : start + size] for start in range(0, len(films), size)]
        ahead: deque[list[Future[OpenedFilm | str]]] = deque()
        for number, chunk in enumerate(chunks):
            while len(ahead) < 2 and number + len(ahead) < len(chunks):
                ahead.append([readers.submit(self._open, film) for film in chunks[number + len(ahead)]])
            yield [(film, future.result()) for film, future in zip(chunk, ahead.popleft(), strict=True)]

    def _open(self, film: InputFilm) -> OpenedFilm | str:
        try:
            return self.reader.open(film)
        except DataError as error:
            return error.message
        except StorageError as error:
            # One file that is missing or may not be read is that film's fault; a bucket that is away is not.
            if film.row is None and (Location(film.uri).is_local or isinstance(error, MissingError)):
                return error.message
            raise

    def _finish(
        self,
        film: InputFilm,
        found: OpenedFilm,
        square: NDArray[np.float32],
        image_probabilities: NDArray[np.float32] | None,
    ) -> dict[str, Any]:
        """Decide, write, and tell of one film."""
        maps = undo_letterbox(square, found.height, found.width)
        masks = apply_rules(self.rules, maps, image_probabilities)
        try:
            further = self.outputs.write(film.name, found, masks, maps[len(maps) - len(self.classes) :])
        except DataError as error:
            return _failed(film, error.message)
        if image_probabilities is not None:
            values = [round(float(value), 6) for value in image_probabilities]
            further["image_probabilities"] = dict(zip(self.classes, values, strict=True))
        pixels = {name: int(np.count_nonzero(mask)) for name, mask in zip(self.classes, masks, strict=True)}
        told = {"name": film.name, "original": film.uri, "status": DONE, "height": found.height, "width": found.width}
        return told | {"pixels": pixels} | further


def run_here(parts: Sequence[Part], settings: JobSettings) -> Iterator[list[dict[str, Any]]]:
    """Predict parts in this process."""
    predictor = PartPredictor(settings)
    for part in parts:
        yield predictor.predict(part)


def _failed(film: InputFilm, reason: str | OpenedFilm) -> dict[str, Any]:
    return {"name": film.name, "original": film.uri, "status": FAILED, "reason": str(reason)}
