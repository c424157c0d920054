"""Constant instructions: what a product puts around its users' content, and what asks for a reasoning trace.

They are dealt to the folds, so that no wording is on both sides of a split.
"""

from __future__ import annotations

#: Around varied content: translation, classification, extraction, summaries.
PAYLOAD = (
    "Classify the text below as positive, negative or neutral. Answer with one word.\n\n{}",
    "Translate the following text into English. Keep names as they are.\n---\n{}\n---",
    "You are a support triage system. Return JSON with the keys intent and urgency.\nMessage: {}",
    "Summarise in one sentence for our weekly digest:\n\n{}",
    "Extract all dates, amounts and names as a list. Text: {}",
    'Does the text follow our community rules? Answer yes or no and quote the rule.\n\n"""{}"""',
    "{}\n\nGive this ticket one of these labels: billing, delivery, defect, other.",
    "Rewrite so that a ten-year-old understands it, in at most three sentences.\nINPUT: {}",
    "Customer wrote:\n{}\nDraft a polite reply of two sentences. Do not promise a refund.",
    "Detect the language of the text and return its ISO code only: {}",
    "Headline for the item below, at most eight words, no full stop.\n\n{}",
    "Input: {}\nTask: tag every product that is mentioned. Output: comma-separated tags, or NONE.",
    "Score the relevance of this query to our catalogue from 0 to 5. Query: {}",
    "Remove personal data from the passage and return the rest unchanged:\n<passage>{}</passage>",
    "Is a reply from a human agent needed? Respond TRUE or FALSE.\n>>> {}",
)

#: Around a bank of questions, to harvest reasoning.
TRACE = (
    "Solve the problem. Write your full reasoning inside <think> tags, then the final answer.\n\n{}",
    "Question: {}\nReason through every step in detail before you answer, and check the result.",
    "You are an expert. Show your complete chain of thought for this one:\n{}",
    "{}\n\nExplain each inference you make, number the steps, and end with 'Answer:'.",
    "Think aloud, at length, about the following. Consider alternatives, reject them, conclude.\n---\n{}",
    "Task: {}\nFirst plan, then carry out the plan line by line, then verify. Include all of it.",
    "Derive the answer from first principles and narrate the derivation: {}",
    "Before answering, list what is known, what is asked and a strategy. Then work it out.\nProblem: {}",
    "<question>{}</question>\nGive a long, careful rationale followed by the answer in a box.",
    "Produce a worked solution that a student could learn from, with no step left out.\n\n{}",
)
