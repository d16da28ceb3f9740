"""Print the file of docs/tutorial.md: twenty-four household questions with answers, and a line that is not JSON."""

import json

WISHES = """
How do I get a coffee stain out of a cotton shirt? | Dab it with cold water and a drop of dish soap, then wash it.
How can I keep a cutting board from slipping? | Lay a damp kitchen towel under it.
What should I do before I paint a wall? | Wipe off the dust, tape the edges and let the wall dry.
How do I peel garlic quickly? | Crush the clove with the flat of a knife, and the skin comes off.
How can I sharpen dull scissors? | Cut through several layers of aluminium foil.
What helps against a squeaking door? | Rub a little oil or candle wax on the hinges.
How do I hang a picture straight? | Put a level on the frame and mark both holes with a pencil.
How can I dry wet shoes overnight? | Stuff them with crumpled newspaper and change it once.
How do I remove a sticker from a glass jar? | Soak the jar in warm water and scrape the glue off with oil.
What is a simple way to water plants while away? | Run a cotton string from a bowl of water into the soil.
How do I fold a fitted sheet? | Tuck the corners into each other, lay it flat and fold it in thirds.
How can I stop bread from going stale? | Freeze it in slices and toast what you need.
How do I unclog a kitchen sink? | Pour hot water into it, then push and pull with a plunger.
What should I use to clean a wooden table? | A soft damp cloth, and a dry one right after it.
How do I get a screw out whose head is worn? | Put a rubber band between the screwdriver and the head.
How can I store leftover paint? | Close the lid tightly and keep the can upside down in a cool place.
How do I keep cut apples from turning brown? | Sprinkle them with lemon juice.
What can I do about a stuck zipper? | Rub a pencil along the teeth and move it gently.
How do I boil eggs that peel easily? | Put them into boiling water and cool them in ice water afterwards.
How can I level a wobbling chair? | Glue a thin piece of felt under the short leg.
How do I clean the inside of a bottle? | Shake it with warm water, rice and a drop of soap.
What is the best way to carry many shopping bags? | Hang them on a short stick and hold it in the middle.
How do I remove candle wax from a tablecloth? | Let it harden, scrape it off and iron the rest through paper.
How can I find a stud in a wall? | Move a small magnet along it until it sticks to a nail.
"""

for line in WISHES.strip().splitlines():
    question, answer = line.split(" | ")
    print(json.dumps({"prompt": question, "completion": answer}))
print('{"prompt": "How do I')
