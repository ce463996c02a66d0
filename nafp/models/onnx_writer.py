"""Writes a trained network as one ONNX graph: waveforms in, fingerprints out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_collections

from nafp.audio import segments
from nafp.jobs import choices
from nafp.models import (
    filterbank,
    front_ends,
    onnx_attention_residual,
    onnx_fingerprinter,
    onnx_layers,
    onnx_spectrogram,
)
from nafp.models.onnx_graph import Graph

# Name -> what adds features [B,D,S] of spectrograms [B,F,T] to a graph.
_ENCODERS = {"nafp": onnx_fingerprinter.encode, "audsearch": onnx_attention_residual.encode}


def graph(variables: Mapping[str, Any], config: ml_collections.ConfigDict, *, bank: filterbank.MelBank) -> Graph:
    """Builds the graph of a network. A fingerprint depends on its segment alone, with every front end.

    variables: "params" and "batch_stats", each nested by layer, in float32 or float16. Raises nafp.errors.Invalid for a
    configuration that it cannot write.
    """
    choices.require("config.model.name", config.model.name, tuple(_ENCODERS))
    segment = segments.to_samples(config.audio.segment_s, config.audio.sample_rate_hz)
    result = Graph()
    mel = onnx_spectrogram.log_mel(
        result,
        result.input,
        segment=segment,
        bank=bank,
        stft_hop=config.spectrogram.stft_hop,
        front_end=front_ends.of_settings(config.spectrogram),
    )
    shape = (config.spectrogram.n_mels, 1 + segment // config.spectrogram.stft_hop)
    slices = _ENCODERS[config.model.name](result, mel, variables, config.model, shape=shape)
    result.finish(onnx_layers.encode(result, slices, variables))
    return result
