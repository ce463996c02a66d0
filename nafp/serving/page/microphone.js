// The microphone, as samples.

// What browsers do for speech would take music away.
const PLAIN = {echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1};

const REASONS = {
  NotAllowedError: "This page may not use the microphone. Allow it in the browser's settings for this site.",
  NotFoundError: "There is no microphone.",
  NotReadableError: "The microphone is in use by another program.",
};

// Calls hear(samples) until `close` of the result is called. Its rateHz is the rate of the samples.
export async function openMicrophone(hear) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("A browser gives a page the microphone only over https or from this machine itself.");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({audio: PLAIN});
  } catch (error) {
    throw new Error(REASONS[error.name] ?? `The microphone could not be opened: ${error.message}`);
  }
  const context = new AudioContext();
  const close = async () => {
    stream.getTracks().forEach(track => track.stop());
    if (context.state !== "closed") await context.close();
  };
  try {
    await context.audioWorklet.addModule(new URL("./tap.js", import.meta.url));
    await context.resume();
    const tap = new AudioWorkletNode(context, "tap");
    tap.port.onmessage = ({data}) => hear(data);
    context.createMediaStreamSource(stream).connect(tap);
  } catch (error) {
    await close();
    throw error;
  }
  return {rateHz: context.sampleRate, close};
}
