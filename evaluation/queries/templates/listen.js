const players = [...document.querySelectorAll('audio')];
for (const player of players) {
  const picture = player.parentNode.querySelector('.spectrogram');
  const line = picture.querySelector('i');
  player.addEventListener('play', () => {
    for (const other of players) {
      if (other === player || other.paused) continue;
      if (other.closest('.clip') === player.closest('.clip')) player.currentTime = other.currentTime;
      other.pause();
    }
  });
  player.addEventListener('timeupdate', () => {
    line.style.opacity = 0.9;
    line.style.left = 100 * player.currentTime / (player.duration || 1) + '%';
  });
  picture.addEventListener('click', event => {
    const place = event.offsetX / picture.clientWidth;
    const start = () => { player.currentTime = place * player.duration; player.play(); };
    if (player.readyState) start();
    else { player.addEventListener('loadedmetadata', start, {once: true}); player.load(); }
  });
}
