// What the pages need beside htmx: news from the server, and a question before what cannot be undone.
'use strict'
{
  const state = document.getElementById('live-state')
  let source = null

  // On a narrow screen the pages' names are a strip; where one is, is seen.
  document.querySelector('nav [aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' })

  const say = (word, tone) => {
    if (!state || state.dataset.tone === tone) return
    state.dataset.tone = tone
    state.textContent = word
    state.className = `state ${tone}`
  }

  const listen = () => {
    if (!state || source) return
    source = new EventSource('/live')
    source.addEventListener('open', () => say('Live', 'good'))
    source.addEventListener('changed', () => htmx.trigger(document.body, 'changed'))
    source.addEventListener('error', () => {
      say('Not live', 'bad')
      // Refused, not interrupted: the session has ended.
      if (source && source.readyState === EventSource.CLOSED) location.reload()
    })
  }

  const stop = () => {
    if (source) source.close()
    source = null
  }

  // A browser has few connections to one server; pages that nobody sees need none.
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) return stop()
    listen()
    if (state) htmx.trigger(document.body, 'changed')
  })
  window.addEventListener('pagehide', stop)
  window.addEventListener('pageshow', listen)

  document.addEventListener('submit', event => {
    const question = event.target.dataset.confirm
    if (question && !window.confirm(question)) event.preventDefault()
  })
}
