// No service worker: OHIF's loads code from another host, and would keep patients' images.
navigator.serviceWorker?.getRegistrations().then(found => found.forEach(each => each.unregister()));
