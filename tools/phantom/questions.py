"""What is asked of a case and what is the right answer: (task, fields, answer).  Standard library only."""


def ask(phantom, facts, kind, index):
    """kind: "report", or a kind of question, of which `index` picks one."""
    if kind == "report":
        return "report", {"view": phantom.view(facts), "indication": phantom.indication(facts)}, phantom.report(facts)
    text, options, answer = phantom.question(facts, kind, index)
    if kind == "classify":
        return "classify", {"view": phantom.view(facts), "condition": text}, answer
    if kind == "choice":
        return "choice", {"question": text} | {f"option_{'abcdef'[i]}": o for i, o in enumerate(options)}, answer
    return "vqa", {"question": text, "type": kind}, answer
