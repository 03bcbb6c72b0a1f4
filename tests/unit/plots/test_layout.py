"""What a figure keeps free: room above panels for long notes, a look of its own for every group."""

import pytest

from muster.plots import layout, style


@pytest.mark.parametrize("groups", [6, 8, 12])
@pytest.mark.parametrize("kind", [int, str])
def test_no_two_groups_look_alike(groups: int, kind: type) -> None:
    looks = style.categories([kind(value) for value in range(groups)])
    assert len(set(looks.values())) == groups


def test_numbers_beyond_the_palette_are_shaded_in_their_order() -> None:
    looks = style.categories([12, 3, 5, 4, 7, 6, 8])
    light = [sum(looks[value][0]) for value in sorted(looks)]
    assert light == sorted(light, reverse=True)


def test_a_long_note_takes_nothing_from_its_panel() -> None:
    """Eight lines of slopes left a panel so low that the label of its y-axis was cut off."""

    def drawn(lines: int) -> tuple[float, bool]:
        with style.paper():
            fig, (ax,) = layout.panels(1)
            layout.panel_title(ax, "", "\n".join(f"features {k}: −1.37 [−2.44, −0.29]" for k in range(lines)))
            layout.outer_labels([ax], "training examples (count)", "held-out loss (mean squared error)")
            layout.heading(fig, "Held-out loss against training examples", "a study")
            fig.draw_without_rendering()
            label = ax.yaxis.label.get_window_extent()
            inside = bool(label.y0 >= 0 and label.y1 <= fig.bbox.height)
            return ax.get_window_extent().height, inside

    short, long = drawn(1), drawn(8)
    assert short[1]
    assert long[1]
    assert long[0] == pytest.approx(short[0], rel=0.15)
