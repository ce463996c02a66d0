// A long file as a stream to the server, which says what plays when, as nafp monitor does.

const PART_BYTES = 1 << 18, AHEAD_BYTES = 1 << 20, LOOK_MS = 20;

const pause = () => new Promise(resolve => setTimeout(resolve, LOOK_MS));

// Returns the seconds of a file, or null if the browser cannot tell.
export function secondsOf(file) {
  const address = URL.createObjectURL(file), audio = new Audio();
  return new Promise(resolve => {
    audio.addEventListener("loadedmetadata", () => resolve(Number.isFinite(audio.duration) ? audio.duration : null));
    audio.addEventListener("error", () => resolve(null));
    audio.src = address;
  }).finally(() => URL.revokeObjectURL(address));
}

// Sends a file, and calls tell(event) for each event of the server, and tell({event: "sent", share}) in between. Ends
// with the stream, or once isOver() holds.
export async function streamed(address, file, tell, isOver) {
  const socket = new WebSocket(address);
  let trouble = "The server does not answer. Is it running, and is this device online?", isDone = false;
  socket.addEventListener("message", ({data}) => {
    const event = JSON.parse(data);
    if (event.event === "error") trouble = `The server says: ${event.error}.`;
    else tell(event);
    isDone ||= event.event === "end";
  });
  const isOpen = () => socket.readyState === WebSocket.OPEN && !isOver();
  while (socket.readyState === WebSocket.CONNECTING) await pause();
  for (let at = 0; at < file.size && isOpen(); at += PART_BYTES) {
    const part = await file.slice(at, at + PART_BYTES).arrayBuffer();
    if (!isOpen()) break; // The server closed it while the file was read. Sending would be a complaint on the console.
    socket.send(part);
    tell({event: "sent", share: Math.min(1, (at + PART_BYTES) / file.size)});
    while (isOpen() && socket.bufferedAmount > AHEAD_BYTES) await pause();
  }
  if (isOpen()) socket.send(new Uint8Array(0)); // The end.
  while (isOpen() && !isDone) await pause();
  socket.close();
  if (!isDone && !isOver()) throw new Error(trouble);
}
