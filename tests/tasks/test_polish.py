import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.tasks.polish import polish


@pytest.mark.parametrize(
    ("source", "translation", "target", "polished"),
    [
        # into Chinese
        ("Hello, Ann!", "你好,安!", "zh", "你好，安！"),
        ("Version 3.5, not 4.", "版本3.5, 不是4。", "zh", "版本3.5，不是4。"),
        ("One, two, Ann.", "1,234和A, B。", "zh", "1,234和A, B。"),
        ("Are you well?", "你好吗?", "zh", "你好吗？"),
        ("He said: yes (today).", "他说:是(今天).", "zh", "他说：是（今天）。"),
        ("It costs 1,234.56.", "价格是1,234.56。", "zh", "价格是1,234.56。"),
        ("See a.b and {x}, please.", "请看 a.b 和 {x}, 谢谢.", "zh", "请看 a.b 和 {x}, 谢谢。"),
        ("Are you well?", "你好吗", "zh", "你好吗？"),
        ("It rains.", "下雨了", "zh", "下雨了。"),
        ("Rain", "雨。", "zh", "雨"),
        # out of Chinese
        ("你好，安！", "Hello，Ann！", "en", "Hello, Ann!"),
        ("“好。”他说。", "“Good。” he said。", "en", "“Good.” he said."),
        ("价格（今天）。", "The price（today）。", "en", "The price (today)."),
        ("你好吗？", "How are you", "en", "How are you?"),
        ("他叫《家》。", "《Home》 it is.", "en", "“Home” it is."),
        # ends
        ("Save", "Speichern.", "de", "Speichern"),
        ("Wait...", "Warte...", "de", "Warte..."),
        ("e.g. this", "z. B. dies usw.", "de", "z. B. dies usw"),
        ("Come!", "Viens", "fr", "Viens !"),
        ("Come!", "Komm", "de", "Komm!"),
        ("It rains.", "Es regnet", "de", "Es regnet."),
        ("It rains.", "Es regnet!", "de", "Es regnet!"),
        # case
        ("The end", "das Ende", "de", "Das Ende"),
        ("the end", "das Ende", "de", "das Ende"),
        ("Phones", "iPhones", "de", "iPhones"),
        ("le chat", "The cat", "en", "the cat"),
        ("je dors, je ris", "I sleep, I laugh", "en", "I sleep, I laugh"),
        ("l'otan", "NATO", "en", "NATO"),
        ("the cat", "Katze", "de", "Katze"),
        ("猫", "Cat", "en", "Cat"),
        ("The pH", "pH值", "zh", "pH值"),
        ("The do_it runs", "do_it läuft", "de", "do_it läuft"),
        ("", "", "de", ""),
    ],
)
def test_a_sentence(source: str, translation: str, target: str, polished: str) -> None:
    assert polish(source, translation, "en" if target == "zh" else "zh", target) == polished


SENTENCES = st.text(alphabet="ab C,.!?;:()，。！？：；（）“”《》你好1 ", max_size=20)


@given(SENTENCES, SENTENCES, st.sampled_from(["en", "de", "fr", "zh"]))
def test_words_and_numbers_stay(source: str, translation: str, target: str) -> None:
    polished = polish(source, translation, "en", target)
    assert [c.lower() for c in polished if c.isalnum()] == [c.lower() for c in translation if c.isalnum()]


@given(SENTENCES, SENTENCES, st.sampled_from(["en", "zh"]))
def test_what_is_polished_stays_so(source: str, translation: str, target: str) -> None:
    once = polish(source, translation, "en", target)
    assert polish(source, once, "en", target) == once
