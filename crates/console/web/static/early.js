// Runs before the first paint: the chosen theme and language, so that nothing flashes.
(function () {
	try {
		var theme = localStorage.getItem('espush.theme');
		if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
	} catch (e) {
		// Storage may be forbidden; the system's choice is then used.
	}
})();
