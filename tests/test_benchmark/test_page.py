# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The page, used in headless Chromium as a person would use it."""
import cv2
import pytest
from headless_chromium import Browser, find_chromium
from made_up_results import COLOURS, made_up_results

from srdensenet_mm.benchmark.page import to_html
from srdensenet_mm.benchmark.plot import plot_psnr_over_time

needs_chromium = pytest.mark.skipif(
    find_chromium() is None, reason='no Chromium here (Debian: apt-get install chromium)')


def _write(folder, results, with_images=True):
    path = folder / 'index.html'
    path.write_text(to_html(results, plot_psnr_over_time(results), with_images), encoding='utf-8')
    return path.as_uri()


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp('page')
    with Browser(_write(folder, made_up_results()), folder / 'profile') as browser:
        yield browser


@pytest.fixture
def browser(page):
    """The page, opened again."""
    address = page.evaluate('location.href').partition('#')[0]
    page.resize(1280, 900)
    page.events.clear()
    page.open(address)
    yield page
    assert page.errors() == []


def _names(browser):
    return browser.evaluate(
        "[...document.querySelectorAll('#table tbody th')].map(e => e.textContent)")


def _choose(browser, select, value):
    browser.evaluate(f"""(() => {{ const e = document.getElementById('{select}');
        e.value = '{value}'; e.dispatchEvent(new Event('change')); }})()""")


def _colours(browser, tmp_path, *across):
    """The colours on the screen at shares of the comparison's width."""
    points = [browser.point('#pair', share) for share in across]
    browser.screenshot(tmp_path / 'shot.png', whole_page=False)
    image = cv2.imread(str(tmp_path / 'shot.png'))
    return [tuple(int(value) for value in image[round(y), round(x)]) for x, y in points]


def _captions(browser):
    return [browser.evaluate(f"document.getElementById('{side}-caption').textContent")
            for side in ('left', 'right')]


@needs_chromium
def test_a_click_sorts_and_a_second_one_turns_round(browser):
    assert _names(browser) == ['bicubic', 'srdensenet', 'edsr <b>']
    time = '#table thead tr:last-child th:nth-child(4)'
    browser.click(f'{time} button')
    assert _names(browser) == ['bicubic', 'edsr <b>', 'srdensenet']
    assert browser.evaluate(f"document.querySelector('{time}').getAttribute('aria-sort')") == (
        'ascending')
    browser.click(f'{time} button')
    assert _names(browser) == ['srdensenet', 'edsr <b>', 'bicubic']
    # Quality: the best comes first, unknown last either way round.
    psnr = '#table thead tr:last-child th:nth-child(6) button'
    browser.click(psnr)
    assert _names(browser) == ['srdensenet', 'bicubic', 'edsr <b>']
    browser.click(psnr)
    assert _names(browser) == ['bicubic', 'srdensenet', 'edsr <b>']
    browser.click('#table thead tr:last-child th:nth-child(1) button')
    assert _names(browser) == ['bicubic', 'edsr <b>', 'srdensenet']


@needs_chromium
def test_the_slider_shows_left_and_right_where_it_should(browser, tmp_path):
    assert _captions(browser) == ['bicubicPSNR (Y) 28.40 dB', 'srdensenetPSNR (Y) 31.25 dB']
    assert _colours(browser, tmp_path, .45, .55) == [COLOURS['bicubic'], COLOURS['srdensenet']]
    browser.click('#pair', across=.8)
    assert _colours(browser, tmp_path, .75, .85) == [COLOURS['bicubic'], COLOURS['srdensenet']]
    browser.evaluate("document.getElementById('position').focus()")
    browser.press('Home', 36)
    assert _colours(browser, tmp_path, .05, .95) == [COLOURS['srdensenet']] * 2
    browser.press('End', 35)
    assert _colours(browser, tmp_path, .05, .95) == [COLOURS['bicubic']] * 2


@needs_chromium
def test_any_two_of_bicubic_models_and_hr_of_any_image(browser, tmp_path):
    options = browser.evaluate(
        "['left', 'right'].map(id => [...document.getElementById(id).options].map(o => o.value))")
    assert options == [['bicubic', 'srdensenet', 'HR']] * 2
    _choose(browser, 'left', 'HR')
    _choose(browser, 'right', 'bicubic')
    _choose(browser, 'picture', 'Set5/bird')
    assert _captions(browser) == ['HRthe original', 'bicubicPSNR (Y) 29.40 dB']
    assert _colours(browser, tmp_path, .45, .55) == [COLOURS['HR'], COLOURS['bicubic']]
    # What was chosen is in the address, to be passed on.
    address = browser.evaluate('location.href')
    browser.open(address)
    assert browser.evaluate("document.getElementById('picture').value") == 'Set5/bird'
    assert _captions(browser) == ['HRthe original', 'bicubicPSNR (Y) 29.40 dB']


@needs_chromium
@pytest.mark.parametrize('zoom, factor', [('1', 1), ('2', 2), ('4', 4)])
def test_zoom_gives_whole_pixels(browser, zoom, factor):
    _choose(browser, 'zoom', zoom)
    size = browser.evaluate("(r => [r.width, r.height])"
                            "(document.getElementById('pair').getBoundingClientRect())")
    assert size == [90 * factor, 60 * factor]


@needs_chromium
@pytest.mark.parametrize('width', [360, 768, 1280])
def test_nothing_overflows_at_any_width(browser, width):
    browser.resize(width, 800)
    assert browser.evaluate('document.documentElement.scrollWidth') <= width
    box = browser.evaluate("(r => [r.left, r.right])"
                           "(document.getElementById('pair').getBoundingClientRect())")
    assert 0 <= box[0] < box[1] <= width


@needs_chromium
def test_without_images_the_table_still_sorts(tmp_path):
    url = _write(tmp_path, made_up_results(), with_images=False)
    with Browser(url, tmp_path / 'profile') as browser:
        assert browser.evaluate("document.getElementById('comparison')") is None
        browser.click('#table thead tr:last-child th:nth-child(4) button')
        assert _names(browser) == ['bicubic', 'edsr <b>', 'srdensenet']
        assert browser.errors() == []


@needs_chromium
def test_names_that_a_page_could_trip_over(tmp_path):
    results = made_up_results()
    renamed = dict(srdensenet='4', bicubic='e<!--<script>x')
    for upscaled in results.images:
        for part in (upscaled.predictions, upscaled.psnr):
            for old in ('bicubic', 'srdensenet'):
                part[renamed[old]] = part.pop(old)
    with Browser(_write(tmp_path, results), tmp_path / 'profile') as browser:
        assert browser.evaluate("[...document.getElementById('left').options].map(o => o.value)"
                                ) == ['e<!--<script>x', '4', 'HR']
        assert _captions(browser) == ['e<!--<script>xPSNR (Y) 28.40 dB', '4PSNR (Y) 31.25 dB']
        assert browser.errors() == []


def test_the_page_is_one_file_and_names_are_text():
    results = made_up_results(names=['</script><script>alert(1)</script>'])
    html = to_html(results, plot_psnr_over_time(results))
    assert html.count('</script>') == 2
    assert 'edsr &lt;b&gt;' in html and 'edsr <b>' not in html
    assert 'a &lt;CPU&gt;' in html
    assert 'http://' not in html and 'https://' not in html
