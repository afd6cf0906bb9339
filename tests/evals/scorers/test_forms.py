"""Other forms of a short answer, which the lenient rules accept, and what they must not let through."""

from __future__ import annotations

import pytest

from evals.scorers import score

from .asked import task

RIGHT = [
    ('52', '52 years'), ('52', 'about 52'), ('138,535', '138,535 people'), ('320 km/h', 'about 320 km/h'),
    ('52', 'roughly 52 people'), ('Barack Obama', 'President Barack Obama'), ('Dr. John Smith', 'John Smith'),
    ('Ian McKellen', 'Sir Ian McKellen'), ('Elizabeth II', 'Queen Elizabeth II'),
    ('Barack Obama', 'Vice President Barack Obama'), ('Rachel Anne Maddow', 'Rachel Maddow'),
    ('John Fitzgerald Kennedy', 'John Kennedy'), ('Thomas Alva Edison', 'Thomas Edison'),
    ('Wolfgang Amadeus Mozart', 'Wolfgang Mozart'), ('John Fitzgerald Kennedy', 'John F. Kennedy'),
    ('Franklin Delano Roosevelt', 'Franklin Roosevelt'), ('F-16', 'F16'), ('F-16', 'F 16'), ('GPT-4', 'GPT4'),
    ('CR-V', 'CRV'), ('T-34', 'T34'), ('WiFi', 'Wi-Fi'), ('Paris', 'the capital of France (Paris)'),
    ('Paris', 'Paris (the capital of France)'), ('World Health Organization', 'WHO (World Health Organization)'),
    ('World Health Organization', 'World Health Organization (WHO)'),
    ('James Madison', 'the fourth president of the United States (James Madison)'), ('yes', 'Yes, no doubt.'),
    ('yes', 'Yes, without a doubt'), ('yes', 'Yes, there is no doubt about it'), ('no', 'No, without a doubt.'),
    ('yes', 'Yes, no question.'), ('yes', 'true'), ('no', 'No, it is not true.'), ('59,039', '$59,039'),
    ('59,039', '59,039 dollars'), ('59,039', 'US$59,039'), ('59,039', '59,039 USD'), ('500', '₹500'),
    ('500', '500 yuan'), ('500', 'CHF 500'), ('$5 million', '5 million dollars'), ('$5 million', '5 million'),
    ('4 July 1776', 'July 4th, 1776'), ('4 July 1776', '1776-07-04'), ('30 April', 'April 30'),
    ('15 March 44 BC', 'March 15, 44 BC'), ('25 June 2001', '25/06/2001'), ('June 1941', 'Jun 1941'),
    ('Tom Grebis', 'Answer: Tom Grebis'),
]  # fmt: skip
"""References and answers in another form."""
WRONG = [
    ('52', '52 million'), ('52', '52 percent'), ('52', 'more than 52'), ('52', '52 or 53'), ('1839', '1839 BC'),
    ('52', '52nd'), ('52', '52 dozen'), ('52', '52-53'), ('320 km/h', '320 mph'), ('52', 'not 52'),
    ('52', 'almost 52'), ('Victoria', 'Queen Victoria'), ('King John Smith', 'Queen John Smith'),
    ('America', 'Captain America'), ('Mr. John Smith', 'Mrs. John Smith'),
    ('Barack Obama', 'President Michelle Obama'), ('James Madison', 'President James Madison Jr.'),
    ('John Fitzgerald Kennedy', 'John G. Kennedy'), ('John Quincy Adams', 'John Adams'),
    ('John Adams', 'John Quincy Adams'), ('Michael B. Jordan', 'Michael Jordan'),
    ('George W. Bush', 'George Bush'), ('George W. Bush', 'George H. W. Bush'), ('New York City', 'New City'),
    ('Royal Military Academy', 'Royal Academy'), ('Rachel Anne Maddow', 'Rachel Anne'),
    ('Rachel Anne Maddow', 'Anne Maddow'), ('Los Angeles Lakers', 'Los Lakers'),
    ('Martin Luther King', 'Martin King'), ('Franklin Delano Roosevelt', 'Theodore Roosevelt'),
    ('Franklin Delano Roosevelt', 'Roosevelt'), ('Anne Boleyn', 'Mary Boleyn'),
    ('Johann Sebastian Bach', 'Johann Christian Bach'), ('Johann Sebastian Bach', 'Johann Bach'), ('F-16', 'F-15'),
    ('F-16', '16'), ('GPT-4', 'GPT-3.5'), ('Boeing 747-400', 'Boeing 747-300'), ('747-400', '747400'),
    ('x-5', 'x5'), ('10-5', '105'), ('F-16', 'F-16 or F-15'), ('France', 'Paris (France)'),
    ('Paris', 'London (Paris)'), ('Paris', 'London (not Paris)'), ('Paris', 'the capital of France (not Paris)'),
    ('Paris', 'Paris (Texas)'), ('Paris', 'the capital of Germany (Berlin)'),
    ('Illinois', 'Springfield (Illinois)'), ('Paris', 'Paris (or Lyon)'), ('France', 'the city of Paris (France)'),
    ('John Lennon', 'The Beatles (John Lennon)'), ('no', 'No doubt'), ('no', 'Yes, no doubt.'),
    ('yes', 'No, no doubt.'), ('yes', 'Yes and no'), ('yes', 'Not yes'), ('yes', 'Yes or no?'),
    ('yes', 'True or false'), ('$59,039', '€59,039'), ('$59,039', '£59,039'), ('$5 million', '$5'),
    ('$5', '5 cents'), ('x + y', 'x - y'), ('2+3', '2*3'), ('1/2', '1, 2'), ('102', '10²'), ('11/2', '1½'),
    ('5', '<5'), ('5', '>5'), ('102', '10₂'), ('a ≠ b', 'a = b'), ('C#', 'C'), ('C++', 'C'),
    ('4 July 1776', '4 July 1777'), ('4 July 1776', '5 July 1776'), ('4 July 1776', 'July 1776'),
    ('30 April', '30 March'), ('15 March 44 BC', 'March 15, 44 AD'), ('15 March 44', '15 March 44 BC'),
    ('1947', '15 August 1947'), ('12 June 2001', '12/06/2001'), ('June 1941', 'July 1941'),
    ('Tom Grebis', 'Not Tom Grebis'), ('Tom Grebis', 'Tom Grebis and Emily Black'), ('Tom Grebis', 'Grebis Tom'),
    ('Tom Grebis', "I don't think the answer is Tom Grebis"), ('Tom Grebis', 'The answer is not Tom Grebis'),
    ('Tom Grebis', 'The wrong answer is Tom Grebis'),
]  # fmt: skip
"""References and answers that a loose rule would accept."""


@pytest.mark.parametrize(("gold", "prediction"), RIGHT)
def test_right_in_another_form(gold: str, prediction: str) -> None:
    verdict = score(task("match", gold), prediction)
    assert verdict.correct, verdict.reason


@pytest.mark.parametrize(("gold", "prediction"), WRONG)
def test_wrong_in_a_similar_form(gold: str, prediction: str) -> None:
    verdict = score(task("match", gold), prediction)
    assert not verdict.correct, verdict.reason
