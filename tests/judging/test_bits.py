"""Sets of parameters as bit masks."""

from gradcheck.judging.bits import single_bits, union


def test_the_union_is_of_the_masks_of_the_values() -> None:
    assert union([1, 2, 4, 8], (0, 2, 2)) == 5
    assert union([1, 2], ()) == 0


def test_the_bits_of_a_mask_come_lowest_first() -> None:
    assert list(single_bits(0b10110)) == [2, 4, 16]
    assert list(single_bits(0)) == []
    assert list(single_bits(1 << 700)) == [1 << 700]
