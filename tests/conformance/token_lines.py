"""Lines for comparing tokenizers: public-domain text, and random mixtures of what tokenizers get wrong.

The same on every run.  `lines(n, without)` gives n lines as bytes, a third of them not UTF-8, none with the byte `without`."""

import random

# L. Carroll 1865; W. Shakespeare 1609; Li Bai, 8th century; J. W. von Goethe 1808; A. S. Pushkin 1833; Natsume Soseki 1905.
PUBLIC_DOMAIN = """\
Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: once or twice she had peeped
into the book her sister was reading, but it had no pictures or conversations in it, "and what is the use of a book," thought Alice
"without pictures or conversations?" So she was considering in her own mind (as well as she could, for the hot day made her feel very
sleepy and stupid), whether the pleasure of making a daisy-chain would be worth the trouble of getting up and picking the daisies, when
suddenly a White Rabbit with pink eyes ran close by her. There was nothing so VERY remarkable in that; nor did Alice think it so VERY
much out of the way to hear the Rabbit say to itself, "Oh dear! Oh dear! I shall be late!"
Shall I compare thee to a summer's day? Thou art more lovely and more temperate: Rough winds do shake the darling buds of May, And
summer's lease hath all too short a date;
床前明月光,疑是地上霜。舉頭望明月,低頭思故鄉。
Habe nun, ach! Philosophie, Juristerei und Medizin, Und leider auch Theologie Durchaus studiert, mit heißem Bemühn.
Мороз и солнце; день чудесный! Еще ты дремлешь, друг прелестный
吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。""".split("\n")

WORDS = (
    "the of and to patient's lung effusion It's I'LL don't WE'VE they'd 12 mm 3.5 cm 2024-05-06 $5,000 100% e.g. naïve Straße façade Ω μm "
    "→ ≥ °C foo_bar __init__ CamelCase HTTP/1.1 user@example.org https://example.org/a?b=c#d"
).split()
HAN = "的一是不了人我在有他這为之大来以个中上们到说国和地也子时道出而要于就下得可你年生胸部肺右左侧未见明显异常骨折"
KANA = "ひらがなカタカナ日本語テキスト、。「」"
EMOJI = ["😀", "🩺", "👩‍⚕️", "🧬", "🇩🇪", "👍🏽", "❤️", "🫁", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
SCRIPTS = ["привет мир", "γειά σου", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก", "안녕하세요 세계", "გამარჯობა", "ሰላም", "ảnh hưởng"]
CONTROLS = [*range(0, 32), *range(127, 160), 0xA0, 0xAD, 0x1680, 0x180E, 0x2009, 0x200B, 0x200D, 0x2028, 0x2029, 0x202E, 0x202F, 0x3000, 0xFEFF]
RANGES = [(0x20, 0x250), (0x370, 0x530), (0x1E00, 0x2000), (0x3040, 0x3100), (0x4E00, 0x9FA5), (0x1F300, 0x1F600), (0xAC00, 0xD7A3)]
TRAPS = ["<|im_start|>", "<|im_end|>", "<bos>", "<eos>", "<start_of_turn>", "<unk>", "<pad>", "<0x41>", "<s>", "</s>", "[INST]", "▁", "▁▁the",
         "Ġ", "<|endoftext|>", "e\u0301", "A\u030a", "ſ", "'ſ", "\u1100\u1161\u11a8", "\u212b"]


class Writer:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def some(self, alphabet, most):
        return "".join(self.random.choice(alphabet) for _ in range(self.random.randrange(1, most)))

    def word(self):
        r = self.random
        kinds = [
            lambda: r.choice(WORDS), lambda: r.choice(WORDS), lambda: r.choice(WORDS), lambda: r.choice(WORDS),
            lambda: self.some(HAN, 12), lambda: self.some(KANA, 12), lambda: self.some(EMOJI, 4), lambda: r.choice(SCRIPTS),
            lambda: self.some([chr(c) for c in CONTROLS], 6), lambda: r.choice(" \t\r\n") * r.randrange(1, 40),
            lambda: self.some("0123456789", 14), lambda: self.some("!?.,;:'\"()[]{}<>|/\\#@*&^%$~`+-=_", 8),
            lambda: "".join(chr(r.randrange(*r.choice(RANGES))) for _ in range(r.randrange(1, 8))), lambda: r.choice(TRAPS),
        ]
        return r.choice(kinds)() + (" " if r.random() < 0.6 else "")

    def text(self):
        return "".join(self.word() for _ in range(self.random.randrange(1, 14))).encode()

    def broken(self):
        r, line = self.random, bytearray(self.text())
        for _ in range(r.randrange(1, 6)):
            at, kind = r.randrange(len(line) + 1), r.randrange(3)
            if kind == 0:
                line[at : at + 1] = bytes([r.randrange(128, 256)])
            elif kind == 1:
                del line[at : at + 1]
            else:
                line[at:at] = bytes(r.randrange(128, 256) for _ in range(r.randrange(1, 5)))
        return bytes(line)


def lines(n, without=b"\n", seed=3):
    writer = Writer(seed)
    found = [line.encode() for line in PUBLIC_DOMAIN[:n]]
    while len(found) < n:
        found.append(writer.broken() if len(found) % 3 == 0 else writer.text())
    return [line.replace(without, b"") for line in found]
