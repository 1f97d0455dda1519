"""Writes server/postil/embed/data/general_concepts.tsv: the concepts that the general picture model knows.

    python -m pip download --no-deps --dest /tmp timm==1.0.31
    python tools/general_concepts.py /tmp/timm-1.0.31-py3-none-any.whl

The 1,000 classes are those of ImageNet 2012: WordNet synset ids in ascending order, which is the order of the model's
logits; their words come from the same place, two text files inside timm's wheel. What they are kinds of is written
down here, by class number, and checked against the words at both ends of each run.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TARGET = Path(__file__).parent.parent / "server/postil/embed/data/general_concepts.tsv"
FOLDER = "timm/data/_info"
CLASSES = 1000

HEADER = """\
# The concepts that the general picture model knows. Written by tools/general_concepts.py; do not edit.
# Ids and words of the 1,000 classes: ImageNet 2012 in the words of WordNet 3.0 (Copyright 2006 Princeton University,
# WordNet licence), as listed in timm 1.0.31 (Apache-2.0). What they are kinds of: Postil's own.
# Columns: number (of the logit, from 0; 1000 and up: a broader concept), id, name, ids of all broader concepts,
# nearest first. Numbers and ids are never changed and never used twice: stored predictions refer to them.
"""

# Words that stand for two classes, or that would mislead.
RENAMED = {
    134: "crane (bird)", 517: "crane (machine)", 638: "maillot", 639: "tank suit",
    850: "teddy bear", 408: "amphibious vehicle",
    264: "Cardigan corgi", 263: "Pembroke corgi", 458: "brass plaque", 800: "slot machine", 844: "electric switch",
    681: "notebook computer", 673: "computer mouse", 664: "computer monitor", 726: "carpenter's plane",
    782: "projection screen", 881: "upright piano", 778: "weighing scale",
    456: "archer's bow", 553: "filing cabinet", 468: "taxi",
    436: "station wagon", 412: "ash bin", 428: "wheelbarrow", 487: "mobile phone", 751: "racing car", 608: "jeans",
    589: "hair dryer", 590: "handheld computer", 776: "saxophone",
    717: "pickup truck", 769: "ruler", 882: "vacuum cleaner",
    934: "hot dog", 998: "ear of corn", 999: "toilet paper",
}  # fmt: skip


class Broader(NamedTuple):
    """A broader concept: its classes, with the words that the first and the last class must have."""

    name: str
    parents: str  # names, separated by commas
    classes: str  # "151-268 273", or nothing where only narrower concepts fill it


# Append only: the place in this list is the number.
BROADER = (
    Broader("animal", "", "69 105-117 327-329"),
    Broader("person", "", "981-983"),
    Broader("plant", "", "984-986 988-990"),
    Broader("food", "", "923-926 935 947 959-965"),
    Broader("vehicle", "", "450 537 561 603 612 690 694 870 880"),
    Broader("building", "", "425 449 483 497 498 500 580 624 634 663 698 727 743 762 832 915"),
    Broader("clothing", "", ""),
    Broader("furniture", "", ""),
    Broader("device", "", ""),
    Broader("container", "", ""),
    Broader("landscape", "", "970 972-980"),
    Broader("mammal", "animal", "101-106 147-150 298-299 330-338 339-355 356-364 385-388"),
    Broader("dog", "carnivore", "151-268"),
    Broader("cat", "feline", "281-285"),
    Broader("feline", "carnivore", "286-293"),
    Broader("carnivore", "mammal", "269-280 294-297 298-299 356-362 387-388"),
    Broader("bear", "carnivore", "294-297"),
    Broader("wolf", "carnivore", "269-271"),
    Broader("fox", "carnivore", "277-280"),
    Broader("primate", "mammal", "383-384"),
    Broader("ape", "primate", "365-369"),
    Broader("monkey", "primate", "370-382"),
    Broader("rodent", "mammal", "333-338"),
    Broader("rabbit", "mammal", "330-332"),
    Broader("marsupial", "mammal", "104-106"),
    Broader("elephant", "mammal", "101 385-386"),
    Broader("horse", "mammal", "339"),
    Broader("cattle", "mammal", "345-347"),
    Broader("sheep", "mammal", "348-349"),
    Broader("antelope", "mammal", "351-353"),
    Broader("pig", "mammal", "341-343"),
    Broader("bird", "animal", "7-24 80-100 127-146"),
    Broader("owl", "bird", "24"),
    Broader("bird of prey", "bird", "21-23"),
    Broader("parrot", "bird", "87-90"),
    Broader("duck", "bird", "97-98"),
    Broader("penguin", "bird", "145"),
    Broader("fish", "animal", "0-6 389-397"),
    Broader("shark", "fish", "2-4"),
    Broader("amphibian", "animal", "25-32"),
    Broader("frog", "amphibian", "30-32"),
    Broader("salamander", "amphibian", "25-29"),
    Broader("reptile", "animal", "33-68"),
    Broader("turtle", "reptile", "33-37"),
    Broader("lizard", "reptile", "38-48"),
    Broader("crocodile", "reptile", "49-50"),
    Broader("dinosaur", "reptile", "51"),
    Broader("snake", "reptile", "52-68"),
    Broader("arthropod", "animal", "69 79"),
    Broader("arachnid", "arthropod", "70-78"),
    Broader("spider", "arachnid", "72-77"),
    Broader("insect", "arthropod", "300-326"),
    Broader("beetle", "insect", "300-307"),
    Broader("butterfly", "insect", "321-326"),
    Broader("crustacean", "arthropod", "118-126"),
    Broader("crab", "crustacean", "118-121"),
    Broader("lobster", "crustacean", "122-123"),
    Broader("mollusk", "animal", "112-117"),
    Broader("whale", "mammal", "147-148"),
    Broader("car", "motor vehicle", "407 436 468 511 609 627 656 661 751 817"),
    Broader("truck", "motor vehicle", "555 569 717 864 867 675"),
    Broader("bus", "motor vehicle", "654 779 874"),
    Broader("motor vehicle", "vehicle", "408 573 575 586 665 670 734 757 802 803 847 866"),
    Broader("bicycle", "vehicle", "444 671"),
    Broader("motorcycle", "motor vehicle", "665 670"),
    Broader("train", "vehicle", "466 547 565 705 820 829"),
    Broader("boat", "watercraft", "472 554 576 625 814 914 484 780 871"),
    Broader("sailing boat", "boat", "484 780 871 914"),
    Broader("ship", "watercraft", "403 510 628 724 913"),
    Broader("watercraft", "vehicle", "833"),
    Broader("aircraft", "vehicle", "404 405 417 812 895"),
    Broader("airplane", "aircraft", "404 895"),
    Broader("fruit", "food", "948-957"),
    Broader("vegetable", "food", "936-946 987 998"),
    Broader("squash", "vegetable", "939-942"),
    Broader("bread", "baked goods", "930-932"),
    Broader("baked goods", "food", "961 930-932"),
    Broader("dessert", "food", "927-929"),
    Broader("sandwich", "food", "933-934"),
    Broader("drink", "food", "966-967 969"),
    Broader("coffee", "drink", "967"),
    Broader("fungus", "", "947 991-997"),
    Broader("flower", "plant", "985-986"),
    Broader("hat", "clothing", "439 452 515 667 715 808"),
    Broader("helmet", "clothing", "518 560 715"),
    Broader("shoe", "clothing", "502 514 630 770 774"),
    Broader("swimwear", "clothing", "433 445 638 639 842"),
    Broader("dress", "clothing", "399 400 578 601 614 655 689 775"),
    Broader("coat", "clothing", "568 617 735 869"),
    Broader("clothes", "clothing",
            "411 443 457 459 474 451 496 501 529 608 610 643 652 658 697 793 796 806 824 834 841 887 906 465"),
    Broader("chair", "seat", "423 559 765 857"),
    Broader("seat", "furniture", "703 831 861"),
    Broader("table", "furniture", "526 532 736"),
    Broader("bed", "furniture", "431 516 520 564 831"),
    Broader("cupboard", "furniture", "453 493 495 492 553 648 894 548"),
    Broader("musical instrument", "device",
            "401 402 420 432 486 494 513 541 546 558 566 577 579 593 594 641 642 683 684 687 699 776 822 875 881 889"),
    Broader("guitar", "string instrument", "402 546"),
    Broader("string instrument", "musical instrument", "402 420 486 546 594 889"),
    Broader("wind instrument", "musical instrument", "432 513 558 566 593 683 684 699 776 875"),
    Broader("percussion instrument", "musical instrument", "494 541 577 641 642 822"),
    Broader("piano", "musical instrument", "579 881"),
    Broader("clock", "device", "409 530 531 604 826 835 892"),
    Broader("computer", "device", "527 590 620 681"),
    Broader("telephone", "device", "487 528 707"),
    Broader("camera", "device", "732 759"),
    Broader("optical instrument", "device", "447 633 755 836 837 622 732 759"),
    Broader("glasses", "optical instrument", "836-837"),
    Broader("electronics", "device",
            "481 482 485 487 508 527 528 590 592 598 605 613 620 632 650 662 664 673 681 688 707 713 732 742 745 754"
            " 759 761 782 848 851 878"),
    Broader("kitchen appliance", "device", "521 534 544 550 651 760 766 827 859 891"),
    Broader("household appliance", "device", "534 545 589 606 651 760 786 811 827 859 882 891 897 766 521 550"),
    Broader("tool", "device",
            "462 473 477 499 512 587 596 623 714 726 730 731 740 784 792 618 695 767 783 677 710 491 621"),
    Broader("weapon", "device", "413 456 471 657 744 763 764"),
    Broader("gun", "weapon", "413 471 763 764"),
    Broader("medical instrument", "device", "523 678 691 823 845 840"),
    Broader("lamp", "device", "607 619 818 846 862 470"),
    Broader("bottle", "container", "440 720 737 898 899 901 907"),
    Broader("drinking vessel", "container", "441 504 572 968"),
    Broader("bag", "container", "414 636 728 748 797"),
    Broader("box", "container", "478 519 492 709"),
    Broader("basket", "container", "588 790"),
    Broader("cookware", "container", "469 505 521 544 567 738 849 909"),
    Broader("bowl", "container", "659 809"),
    Broader("vessel", "container", "427 438 435 463 503 647 653 666 725 756 868 876 883 896 712 804 412 719 773"),
    Broader("ball", "sports equipment", "429 430 522 574 722 768 805 852 890"),
    Broader("sports equipment", "", "416 422 543 602 615 702 746 747 752 795 801"),
    Broader("toy", "", "611 723 850 843"),
    Broader("shop", "building", "415 424 454 467 509 582 788 860 865 762"),
    Broader("house of worship", "building", "497 663 668 832"),
    Broader("house", "building", "425 500 660 915"),
    Broader("bridge", "structure", "821 839 888"),
    Broader("structure", "",
            "406 421 437 442 448 460 489 525 536 538 540 557 562 581 645 649 682 706 708 716 718 733 819 825 853 858"
            " 863 873 877 884 900 912"),
    Broader("fence", "structure", "489 716 912"),
    Broader("sign", "", "458 916-922"),
    Broader("book", "", "917 921"),
)  # fmt: skip

# Where a run of classes must begin and end: a slip of one would go unseen otherwise.
LANDMARKS = {
    0: "tench", 6: "stingray", 7: "cock", 24: "great grey owl", 25: "European fire salamander", 29: "axolotl",
    30: "bullfrog", 32: "tailed frog", 33: "loggerhead", 37: "box turtle", 38: "banded gecko", 48: "Komodo dragon",
    49: "African crocodile", 50: "American alligator", 51: "triceratops", 52: "thunder snake", 68: "sidewinder",
    69: "trilobite", 70: "harvestman", 72: "black and gold garden spider", 77: "wolf spider", 78: "tick",
    79: "centipede", 80: "black grouse", 87: "African grey", 90: "lorikeet", 97: "drake", 100: "black swan",
    101: "tusker", 104: "wallaby", 106: "wombat", 112: "conch", 117: "chambered nautilus", 118: "Dungeness crab",
    121: "king crab", 123: "spiny lobster", 126: "isopod", 127: "white stork", 145: "king penguin", 146: "albatross",
    147: "grey whale", 150: "sea lion", 151: "Chihuahua", 268: "Mexican hairless", 269: "timber wolf", 271: "red wolf",
    277: "red fox", 280: "grey fox", 281: "tabby", 285: "Egyptian cat", 286: "cougar", 293: "cheetah",
    294: "brown bear", 297: "sloth bear", 300: "tiger beetle", 307: "weevil", 321: "admiral", 326: "lycaenid",
    330: "wood rabbit", 332: "Angora", 333: "hamster", 338: "guinea pig", 339: "sorrel", 341: "hog", 343: "warthog",
    345: "ox", 347: "bison", 348: "ram", 349: "bighorn", 351: "hartebeest", 353: "gazelle", 356: "weasel",
    364: "three-toed sloth", 365: "orangutan", 369: "siamang", 370: "guenon", 382: "squirrel monkey",
    385: "Indian elephant", 388: "giant panda", 389: "barracouta", 397: "puffer", 923: "plate", 926: "hot pot",
    927: "trifle", 929: "ice lolly", 930: "French loaf", 932: "pretzel", 933: "cheeseburger", 934: "hotdog",
    936: "head cabbage", 939: "zucchini", 942: "butternut squash", 946: "cardoon", 948: "Granny Smith",
    957: "pomegranate", 959: "carbonara", 964: "potpie", 967: "espresso", 970: "alp", 980: "volcano",
    981: "ballplayer", 983: "scuba diver", 985: "daisy", 991: "coral fungus", 997: "bolete", 999: "toilet tissue",
}  # fmt: skip


def main(wheel: str) -> None:
    """Reads timm's wheel and writes the table."""
    with zipfile.ZipFile(wheel) as archive:
        synsets = archive.read(f"{FOLDER}/imagenet_synsets.txt").decode().split()
        lemmas = archive.read(f"{FOLDER}/imagenet_synset_to_lemma.txt").decode().splitlines()
    words = dict(line.split("\t", 1) for line in lemmas)
    first = [words[synset].split(",")[0].strip() for synset in synsets]
    check(synsets, first)
    names = [RENAMED.get(number, word) for number, word in enumerate(first)]
    rows = list(table(synsets, names))
    TARGET.write_text(HEADER + "".join("\t".join(row) + "\n" for row in rows))


def check(synsets: list[str], words: list[str]) -> None:
    """Raises ValueError when the classes are not where they are thought to be."""
    if len(synsets) != CLASSES or synsets != sorted(synsets):
        raise ValueError("not the 1,000 classes in order")
    wrong = {number: words[number] for number, word in LANDMARKS.items() if words[number] != word}
    if wrong:
        raise ValueError(f"classes are not where they should be: {wrong}")


def table(synsets: list[str], names: list[str]) -> Iterator[tuple[str, str, str, str]]:
    """The rows: number, id, name, ids of broader concepts."""
    direct: dict[int, list[str]] = {number: [] for number in range(CLASSES)}
    for broader in BROADER:
        for number in numbers(broader.classes):
            direct[number].append(broader.name)
    if len({name.casefold() for name in names}) != CLASSES:
        raise ValueError("two classes share a name")
    for number in range(CLASSES):
        above = {name for parent in direct[number] for name in [parent, *ancestors(parent)]}
        yield str(number), synsets[number], names[number], " ".join(_nearest_first(above))
    if clash := {name.casefold() for name in names} & {broader.name.casefold() for broader in BROADER}:
        raise ValueError(f"classes and broader concepts share names: {clash}")
    for place, broader in enumerate(BROADER):
        above = set(ancestors(broader.name))
        yield str(CLASSES + place), _slug(broader.name), broader.name, " ".join(_nearest_first(above))


def numbers(runs: str) -> Iterator[int]:
    """The class numbers of "1-3 7"."""
    for run in runs.split():
        low, _, high = run.partition("-")
        yield from range(int(low), int(high or low) + 1)


def ancestors(name: str) -> set[str]:
    """Names of everything that the broader concept is a kind of."""
    parents = [part for part in _BY_NAME[name].parents.split(",") if part]
    return set(parents).union(*(ancestors(parent) for parent in parents))


def _nearest_first(names: set[str]) -> list[str]:
    return [_slug(name) for name in sorted(names, key=lambda name: (-len(ancestors(name)), name))]


def _slug(name: str) -> str:
    return name.replace(" ", "-")


_BY_NAME = {broader.name: broader for broader in BROADER}

if __name__ == "__main__":
    main(sys.argv[1])
