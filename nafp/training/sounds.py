"""What degrades music: the noise, the speech and the responses of a corpus, as a configuration asks for them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import segments
from nafp.corpora import banks, corpus
from nafp.training import augment, pipeline, step


class Sounds(NamedTuple):
    """The corpus that degradations come from, and the kinds that are asked for, with a probability above 0."""

    source: corpus.Corpus
    settings: augment.Settings
    silence_db: float

    def probability(self, kind: str) -> float:
        """Returns the probability of `noise`, `speech`, `song`, `room` or `microphone`, 0 if nothing is degraded."""
        chain = self.settings.chain
        return getattr(chain, kind).probability if chain.enabled else 0.0

    def kinds(self, *names: str) -> list[str]:
        """Returns those of the kinds that are asked for."""
        return [kind for kind in names if self.probability(kind) > 0]

    def lacking(self, split: str) -> list[str]:
        """Lists the kinds that are asked for and not in this split."""
        kinds = self.kinds(*augment.ADDED, "room", "microphone")
        if self.settings.chain.one_response and self._pooled(split):
            kinds = self.kinds(*augment.ADDED)
        return [kind for kind in kinds if not self.source.select(kind=augment.ADDED.get(kind, kind), split=split)]

    def noises(self, split: str) -> dict[str, pipeline.Noise]:
        """Opens what is mixed in from a split, by its name in `augment.ADDED`."""
        return {kind: self._noise(kind, split) for kind in self.kinds(*augment.ADDED)}

    def _noise(self, kind: str, split: str) -> pipeline.Noise:
        n_samples = self.settings.heard_samples
        noise = pipeline.noise_source(
            self.source, kind=augment.ADDED[kind], split=split, n_samples=n_samples, silence_db=self.silence_db
        )
        if noise is None:
            raise self._missing(kind, split)
        return noise

    def banks(self, split: str) -> step.Banks:
        """Opens the responses of a split."""
        if self.settings.chain.one_response:
            return step.Banks(self._bank("room", self._pooled(split), split), None)
        return step.Banks(self._bank("room", ["room"], split), self._bank("microphone", ["microphone"], split))

    def _pooled(self, split: str) -> list[str]:
        """Returns the kinds of response that the split has, for a bank of both."""
        return [kind for kind in ("room", "microphone") if self.source.select(kind=kind, split=split)]

    def _bank(self, kind: str, members: list[str], split: str) -> augment.Bank | None:
        """Opens the responses of the kinds `members` by the settings of one kind."""
        if not self.probability(kind):
            return None
        if not members or not all(self.source.select(kind=name, split=split) for name in members):
            raise self._missing(kind, split)
        n_samples = segments.to_samples(getattr(self.settings.chain, kind).seconds, self.settings.sample_rate_hz)
        found = [banks.response_bank(self.source, kind=name, split=split, n_samples=n_samples) for name in members]
        circular, clip_samples = self.settings.chain.circular, self.settings.heard_samples
        if circular and clip_samples % 2:
            raise errors.Invalid(
                f"config.augment.circular: what is heard has {clip_samples} samples, which must be an even number. "
                "Change config.augment.context_s or config.audio.segment_s by one sample."
            )
        kept = self.settings.segment
        return augment.bank(np.concatenate(found), clip_samples=clip_samples, kept_samples=kept, circular=circular)

    def _missing(self, kind: str, split: str) -> errors.Invalid:
        return errors.Invalid(
            f"config.augment.{kind}.probability={self.probability(kind)}, but "
            f"{self.source.folder} has no {augment.ADDED.get(kind, kind)} in split {split!r} "
            f"(it has {self.source.summary()}). "
            "Add some to the manifest (column kind), name another "
            f"--config.data.noise_corpus, or go without: --config.augment.{kind}.probability=0."
        )
