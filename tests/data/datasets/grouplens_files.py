"""Small made-up data in the formats of GroupLens."""

from pathlib import Path

GENRES = ["unknown", "Action", "Children's", "Drama"]


def small_100k(folder: Path) -> Path:
    """Made-up ratings of two users and three movies in the format of ml-100k, in latin-1."""
    folder.mkdir(parents=True)
    genres = "".join(f"{genre}|{number}\n" for number, genre in enumerate(GENRES))
    (folder / "u.genre").write_text(genres + "\n")
    (folder / "u.data").write_text("2\t1\t3\t881250949\n1\t3\t5\t881250949\n1\t1\t4\t881250950\n")
    movies = [
        "1|Éva et moi (1990)|01-Jan-1991||http://example.org/1|0|0|1|1",
        "2|unknown||||1|0|0|0",
        "3|Twice (1980) (1995) (V)|01-Jan-1995|||0|1|0|0",
    ]
    (folder / "u.item").write_bytes(("\n".join(movies) + "\n").encode("latin-1"))
    (folder / "u.user").write_text("1|24|M|technician|85711\n2|53|F|other|T8H1N\n")
    return folder


def small_1m(folder: Path) -> Path:
    """The same movies and users in the format of ml-1m."""
    folder.mkdir(parents=True)
    (folder / "ratings.dat").write_text("2::1::3::978300760\n1::3::5::978300760\n")
    movies = "1::Éva et moi (1990)::Children's|Drama\n3::Twice: Or Not (1995)::Action\n"
    (folder / "movies.dat").write_bytes(movies.encode("latin-1"))
    (folder / "users.dat").write_text("1::M::18::0::85711\n2::F::56::10::T8H1N\n")
    return folder
