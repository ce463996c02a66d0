"""One recording in, samples out: decoding, segments, live input, the microphone."""
