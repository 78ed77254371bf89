"""Titles, languages and other tags of a file and its streams, and which of them each container keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction

from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream

RECORD = "DAGAN_MADE"  # tag of the record of what dagan made a Matroska file with
_OF_THE_OLD_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "number_of_")
_OF_THE_OLD_FILE += ("bps", "_statistics_", "alpha_mode", RECORD.lower())  # the muxer writes alpha_mode

# File tags that FFmpeg's muxers write; tested by writing and reading each.
_KEPT = {
    "mp4": "album album_artist artist comment compilation composer copyright creation_time date description disc "
    "episode_id episode_sort gapless_playback genre grouping hd_video keywords location lyrics media_type network "
    "season_number show synopsis timecode title track",
    "mov": "album artist comment copyright creation_time date genre location make model timecode title",
}
# QuickTime numbers the languages of classic Mac OS; these are FFmpeg's names (ISO 639-2, with errors of its own).
_MAC_LANGUAGES = (
    "eng fra ger ita dut sve spa dan por nor heb jpn ara fin gre ice mlt tur chi urd hin tha kor lit pol hun est lav "
    "rus iri alb ron ces slk slv yid mac bul ukr bel uzb kaz aze arm geo mol kir tgk tuk mon pus kur kas snd tib nep "
    "san mar ben asm guj pan ori mal kan tam tel bur khm lao vie ind tgl may amh tir orm som swa run mlg epo wel baq "
    "cat lat que grn aym tat uig dzo jav"
)
_IN_MAC_WORDS = (
    "deu=ger nld=dut swe=sve ell=gre isl=ice zho=chi sqi=alb hye=arm kat=geo mya=bur msa=may cym=wel eus=baq bod=tib "
    "fre=fra rum=ron cze=ces slo=slk mkd=mac fas=iri per=iri nob=nor nno=nor"
)
_TO_MAC = {pair[:3]: pair[4:] for pair in _IN_MAC_WORDS.split()}
_TIMECODE = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)", re.ASCII)
_MARKS = Disposition.dub | Disposition.original | Disposition.comment
_MARKS |= Disposition.forced | Disposition.hearing_impaired | Disposition.visual_impaired
_LOST_MARKS = {"mp4": Disposition.original, "mov": _MARKS, "webm": _MARKS & ~Disposition.forced}


def kept_metadata(tags: Mapping[str, str], form: str = "") -> dict[str, str]:
    """Return the tags that do not describe the bytes of the old file; with the names of container `form`, if given."""
    kept = {key: value for key, value in tags.items() if not key.lower().startswith(_OF_THE_OLD_FILE)}
    if "name" in kept and "title" not in kept:
        kept["title"] = kept.pop("name")  # FFmpeg reads back the title of an mp4 as "name"
    if form == "mov" and "language" in kept:
        kept["language"] = mac_language(kept["language"])
    if form in _KEPT and not _TIMECODE.fullmatch(kept.get("timecode", "")):
        kept.pop("timecode", None)  # an invalid timecode would make the whole file fail
    return kept


def mac_language(language: str) -> str:
    """Return a language (ISO 639-2) as FFmpeg writes it to QuickTime files and reads it back."""
    return _TO_MAC.get(language, language)


def tag_file(out: OutputContainer, donor: InputContainer) -> None:
    """Copy the tags of another file to a new one, before its header is written."""
    out.metadata.update(kept_metadata(donor.metadata, out.format.name))
    if out.format.name in _KEPT and _as_keys(donor):
        out.container_options["movflags"] = "use_metadata_tags"


def lost_tags(form: str, donor: InputContainer) -> list[str]:
    """Return a warning if a container cannot store some of a file's tags."""
    if form not in _KEPT or _as_keys(donor):
        return []
    tags = kept_metadata(donor.metadata)
    plain = [re.sub(r"-[a-z]{3}$", "", key.lower()) for key in tags]  # "title-fra" is "title" in another language
    lost = [key for key, name in zip(tags, plain, strict=True) if name not in _KEPT[form].split()]
    return [f"tags are not kept: {', '.join(lost)}; .{form} cannot store them, .mkv can"] if lost else []


def _as_keys(donor: InputContainer) -> bool:
    """True to write QuickTime's free-form keys, where phones store "com.apple.quicktime.creationdate".

    They hold any tag; but then no cover image is kept, and few players look for a title there.
    """
    has_cover = any(stream.disposition & Disposition.attached_pic for stream in donor.streams)
    return not has_cover and any(key.lower().startswith("com.") for key in donor.metadata)


def lost_marks(form: str, stream: Stream) -> Iterator[str]:
    """Yield the language and marks of a stream that a container cannot store, as phrases that follow "stream 1"."""
    language = stream.language or "und"
    kept = {"mp4": re.fullmatch("[a-z]{3}", language), "mov": mac_language(language) in _MAC_LANGUAGES.split()}
    if language != "und" and not kept.get(form, True):
        yield f"loses its language {language}"
    if lost := stream.disposition & _LOST_MARKS.get(form, 0):
        marks = ", ".join(flag.name or "" for flag in Disposition if flag & lost)
        yield f"is no longer marked as {marks.replace('_', ' ')}"


def later_timecode(timecode: str, seconds: Fraction, rate: Fraction) -> str:
    """Return the SMPTE timecode "hh:mm:ss:ff" `seconds` later; after ";" frames 0 and 1 are dropped in most minutes.

    (SMPTE ST 12-1; at 60 frames per second 0 to 3 are dropped.) An invalid timecode is returned unchanged.
    """
    match = _TIMECODE.fullmatch(timecode)
    if not match:
        return timecode
    fps, skipped = round(rate), round(rate / 15) if match[4] != ":" else 0
    minutes = int(match[1]) * 60 + int(match[2])
    count = (minutes * 60 + int(match[3])) * fps + int(match[5]) - skipped * (minutes - minutes // 10)
    count += round(seconds * rate)
    tens, rest = divmod(count, 600 * fps - 9 * skipped)
    minute = max(0, rest - skipped) // (60 * fps - skipped)
    count += skipped * (9 * tens + minute)
    total, frame = divmod(count, fps)
    hours, total = divmod(total, 3600)
    return f"{hours % 24:02}:{total // 60:02}:{total % 60:02}{match[4]}{frame:02}"
