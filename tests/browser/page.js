// What the tests ask of a page, as window.course; it is there before JupyterLab's own scripts.
window.course = {
    ended: '', kernelErrors: [],

    kernel: () => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel,

    // Callbacks fail without any cell: the kernel says so on this channel alone.
    listen: () => course.kernel().iopubMessage.connect((_, message) => {
        if (message.header.msg_type === 'error')
            course.kernelErrors.push(message.content.ename + ': ' + message.content.evalue);
    }),

    runAll: () => {
        course.ended = '';
        window.jupyterapp.commands.execute('notebook:run-all-cells').then(
            done => course.ended = done ? 'done' : 'a cell failed', error => course.ended = String(error));
    },

    // The label of the control that has the focus, null if it is none of this element's.
    focused: element => {
        const focus = document.activeElement;
        const row = focus.closest('.widget-inline-hbox, .widget-radio, .widget-toggle-buttons');
        const control = row ?? focus.closest('button');
        if (!element.contains(focus) || !control) return null;
        const label = control.matches('button') ? control : control.querySelector('.widget-label');
        return (label.innerText.replace('\u200b', '') || control.innerText).trim();
    },

    view: element => ({
        picture: [...element.querySelectorAll('img')].at(-1)?.src ?? '', text: element.innerText
    }),

    nextFrame: () => new Promise(done => setTimeout(() => requestAnimationFrame(done), 100)),

    // What does not fit: text cut off, a printed line that had to be broken, two things in one place, a need to scroll.
    layout: root => {
        const found = [], boxes = [];
        const shown = element => element.getClientRects().length > 0;
        const say = element => element.innerText?.trim().slice(0, 60) || element.className || element.tagName;
        const each = (what, task) => [...root.querySelectorAll(what)].filter(shown).forEach(task);
        each('.widget-label, .widget-label-basic, .widget-readout, button, .widget-html-content', element => {
            if (element.scrollWidth > element.clientWidth + 1) found.push('cut off: ' + say(element));
        });
        each('select', element => {
            const pen = document.createElement('canvas').getContext('2d');
            pen.font = getComputedStyle(element).font;
            for (const option of element.options)
                if (pen.measureText(option.text).width > element.clientWidth - 24) found.push('cut off: ' + option.text);
        });
        each('pre', element => {
            const line = parseFloat(getComputedStyle(element).lineHeight);
            const lines = element.innerText.replace(/\n$/, '').split('\n').length;
            if (element.clientHeight > (lines + 0.5) * line) found.push('a line is broken: ' + say(element));
        });
        each('img', element => {
            if (element.scrollWidth > root.clientWidth) found.push('a picture is wider than the page');
        });
        if (root.scrollWidth > root.clientWidth + 1) found.push('wider than the page');
        each('.widget-label, .slider-container, .widget-readout, select, button, input, img, pre, .widget-html-content',
             element => boxes.push([element, element.getBoundingClientRect()]));
        for (const [one, a] of boxes) for (const [two, b] of boxes) {
            if (one === two || one.contains(two) || two.contains(one)) continue;
            if (one.compareDocumentPosition(two) & Node.DOCUMENT_POSITION_PRECEDING) continue;
            const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (wide > 2 && high > 2) found.push('overlap: ' + say(one) + ' / ' + say(two));
        }
        return found;
    },

    // Of a page without a kernel: what does not fit its width; code and tables scroll by themselves.
    tooWide: () => [...document.querySelectorAll('body *')].filter(element => {
        if (element.closest('pre, table')) return false;
        return element.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
    }).map(element => element.tagName + ' ' + element.innerText?.slice(0, 60)),

    // Pictures that are not there. The badge is not asked for: it comes from elsewhere, and a test has no network.
    notLoaded: () => [...document.images].filter(image => image.src.startsWith('http') === false)
        .filter(image => !image.complete || image.naturalWidth === 0).map(image => image.src.slice(0, 80)),
};
