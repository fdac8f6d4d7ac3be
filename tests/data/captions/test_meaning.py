"""Sides, languages and disasters in captions that others wrote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.captions.meaning import has_side, other_disaster

SIDES = [
    "The leftmost house has collapsed.", "Debris in the rightmost row.", "The westernmost block is gone.",
    "Damage in the NE corner.", "Ruins SW of the road.", "An eastbound lane is blocked.",
    "Houses on the left-hand side.", "The lefthand row.", "Debris in the northwestern part.",
    "the upper left is burnt", "Ash towards the E.", "N.W. of it", "an easterly fire", "southeastward",
    "the Eastside", "the ESE part", "debris at 3 o'clock", "turned clockwise", "Westwards all is gone.",
    "right next to the river", "LEFT OF THE ROAD", "the se corner", "north-east", "\u2190 debris",
    "eastern-most", "the south west",
]  # fmt: skip
FOREIGN = [
    "Las casas de la izquierda están destruidas.", "Casas destruidas a la derecha",
    "Les maisons à gauche sont détruites.", "Les toits au nord-ouest", "Die Häuser links sind zerstört.",
    "Im Osten brennt es.", "Le case a sinistra sono crollate.", "As casas à esquerda",
    "De huizen rechts zijn weg.", "Rumah di sebelah kiri hancur.", "Soldaki evler yıkıldı.",
    "Domy po lewej stronie zniszczone", "Talot vasemmalla ovat tuhoutuneet",
    "Ang mga bahay sa kaliwa ay nasira.", "左侧的房屋被毁", "東側の家屋が倒壊", "Дома слева разрушены",
    "البيوت على اليسار مدمرة", "Τα σπίτια αριστερά", "बाईं ओर के घर", "Nhà cửa bên trái bị phá hủy",
]  # fmt: skip
PLAIN = [
    "Roofs are torn off along the road.", "Leftover debris covers a bright copyrighted sign.",
    "house house house", "Debris in the north and south.", "A right-angled street, a right of way.",
    "An upright wall by the Easter market.", "Flooded houses.", "Muddy water between the houses of São Paulo.",
    "Collapsed roofs, debris", "a town after a storm", "The houses of Los Angeles and of La Paz are gone.",
    "The lease on the best nest in Weston", "Destroyed.",
]  # fmt: skip


@pytest.mark.parametrize("text", [*SIDES, *FOREIGN])
def test_a_side_or_another_language(text: str) -> None:
    assert has_side(text)


@pytest.mark.parametrize("text", PLAIN)
def test_no_side(text: str) -> None:
    assert not has_side(text)


@given(st.sampled_from(PLAIN), st.sampled_from(["east", "west", "left", "right"]), st.integers(0, 9))
def test_a_side_is_found_wherever_it_stands(text: str, side: str, place: int) -> None:
    words = text.split()
    assert has_side(" ".join([*words[:place], side, *words[place:]]))


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("The flood has submerged the whole town.", {"flooding", "tsunami"}),
        ("Muddy floodwater stands in the streets.", {"flooding", "tsunami"}),
        ("The hurricane's winds tore roofs off.", {"wind", "flooding"}),
        ("A tornado's path", {"wind"}),
        ("Burnt houses after a wildfire.", {"fire", "volcano"}),
        ("Collapsed by the earthquake", {"earthquake", "tsunami"}),
        ("The tsunami flooded the coast.", {"flooding", "tsunami"}),
        ("Lava has covered the road.", {"volcano"}),
        ("Windows and roofs are gone.", {"wind", "flooding", "fire", "tsunami", "earthquake", "volcano"}),
    ],
)
def test_a_disaster_that_contradicts_the_labels(text: str, fits: set[str]) -> None:
    kinds = ("wind", "flooding", "fire", "tsunami", "earthquake", "volcano")
    assert {kind for kind in kinds if not other_disaster(text, kind)} == fits
    assert not other_disaster(text, "landslide") and not other_disaster(text, "")
