"""Print the file of docs/tutorial.md: sixty capitals, every fifth of them wrong, and a line that is not JSON."""

import json

CAPITALS = """
Argentina Buenos Aires, Australia Canberra, Austria Vienna, Bangladesh Dhaka, Belgium Brussels, Brazil Brasília,
Bulgaria Sofia, Canada Ottawa, Chile Santiago, China Beijing, Colombia Bogotá, Croatia Zagreb, Cuba Havana,
Denmark Copenhagen, Ecuador Quito, Egypt Cairo, Ethiopia Addis Ababa, Finland Helsinki, France Paris, Germany Berlin,
Ghana Accra, Greece Athens, Hungary Budapest, Iceland Reykjavik, India New Delhi, Indonesia Jakarta, Iran Tehran,
Iraq Baghdad, Ireland Dublin, Italy Rome, Jamaica Kingston, Japan Tokyo, Jordan Amman, Kenya Nairobi, Lebanon Beirut,
Malaysia Kuala Lumpur, Mexico Mexico City, Mongolia Ulaanbaatar, Morocco Rabat, Nepal Kathmandu, Nigeria Abuja,
Norway Oslo, Pakistan Islamabad, Peru Lima, Poland Warsaw, Portugal Lisbon, Romania Bucharest, Russia Moscow,
Senegal Dakar, Serbia Belgrade, Spain Madrid, Sudan Khartoum, Sweden Stockholm, Syria Damascus, Thailand Bangkok,
Turkey Ankara, Ukraine Kyiv, Venezuela Caracas, Vietnam Hanoi, Zambia Lusaka
"""

pairs = [pair.split(maxsplit=1) for pair in CAPITALS.replace("\n", " ").strip().split(", ")]
for number, (country, capital) in enumerate(pairs):
    wrong = number % 5 == 0
    answer = pairs[(number + 7) % len(pairs)][1] if wrong else capital
    row = {
        "instruction": f"What is the capital of {country}?",
        "output": f"The capital of {country} is {answer}.",
        "note": "wrong" if wrong else "right",
    }
    print(json.dumps(row, ensure_ascii=False))
print('{"instruction": "What is the capital of')
