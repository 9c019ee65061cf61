use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::convert::Infallible;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn pieces(rows: &Rows, sizes: Sizes) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    cut(rows.iter().map(Ok::<_, Infallible>), sizes, |piece| {
        pieces.push(piece.to_vec());
        Ok(())
    })
    .unwrap();
    pieces
}

fn read(bytes: &[u8]) -> Result<Rows, SnapshotError> {
    let mut rows = Rows::new();
    read_rows(bytes, &mut |(key, value)| {
        rows.insert(key, value);
        Ok(())
    })?;
    Ok(rows)
}

/// Bytes that do not repeat.
fn noise(of: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&of.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

const ROWS: u64 = 1_500;

/// Rows such as those of a month: pages of some 13 kB, and small ones between them.
fn month() -> Rows {
    let length = |row: u64| if row.is_multiple_of(4) { 300 } else { 13_000 };
    (0..ROWS).map(|row| (row.to_be_bytes().to_vec(), noise(row, length(row)))).collect()
}

fn ids(rows: &Rows) -> BTreeSet<PieceId> {
    pieces(rows, Sizes::STORED).iter().map(|piece| PieceId::of(piece)).collect()
}

/// How many pieces of these rows, and how many bytes in them, are not known.
fn added(known: &BTreeSet<PieceId>, rows: &Rows) -> (usize, usize) {
    let new = pieces(rows, Sizes::STORED).into_iter().filter(|piece| !known.contains(&PieceId::of(piece)));
    new.fold((0, 0), |(count, bytes), piece| (count + 1, bytes + piece.len()))
}

#[test]
fn pieces_have_the_usual_size_whatever_the_rows_are() {
    for length in [20, 300, 13_000, 100_000] {
        let rows: Rows = (0..10_000_000 / (length as u64 + 16))
            .map(|row| (row.to_be_bytes().to_vec(), vec![row as u8; length]))
            .collect();
        let pieces = pieces(&rows, Sizes::STORED);
        let bytes: usize = pieces.iter().map(Vec::len).sum();
        let usual = bytes / pieces.len();
        // Those that would be larger than the largest are divided, and no row of 100 kB fits into 64.
        assert!((45_000..=110_000).contains(&usual), "{usual} of rows of {length}");
        assert!(pieces.iter().all(|piece| piece.len() <= Sizes::STORED.most));
    }
}

#[test]
fn a_change_makes_a_few_new_pieces_wherever_it_is() {
    let mut rows = month();
    let known = ids(&rows);
    let (mut cases, mut bytes) = (0, 0);
    for at in (7..ROWS).step_by(249) {
        let key = at.to_be_bytes().to_vec();
        let mut check = |rows: &Rows, most: usize| {
            let (count, new) = added(&known, rows);
            assert!(count <= most, "{count} at {at}");
            (cases, bytes) = (cases + 1, bytes + new);
        };
        let before = rows.insert(key.clone(), noise(at + 10_000, 12_000)).unwrap();
        check(&rows, 3);
        // The last piece holds how many rows there are.
        rows.remove(&key);
        check(&rows, 4);
        rows.insert(key.clone(), before);
        rows.insert([&key[..], b"+"].concat(), noise(at, 500));
        check(&rows, 4);
        rows.remove(&[&key[..], b"+"].concat());
    }
    assert!(bytes / cases < 4 * Sizes::STORED.usual, "{bytes} in {cases}");
}

#[test]
fn what_is_new_is_in_proportion_to_what_has_changed() {
    let rows = month();
    let all: usize = rows.values().map(Vec::len).sum();
    let known = ids(&rows);
    // A hundredth of the rows, which lie together as those of a day do.
    for from in [0, 1_100] {
        let mut changed = rows.clone();
        changed.extend((from..from + ROWS / 100).map(|row| (row.to_be_bytes().to_vec(), noise(row + 10_000, 13_000))));
        let (_, bytes) = added(&known, &changed);
        assert!(bytes < all / 25, "{bytes} of {all}");
    }
    assert_eq!(added(&known, &rows), (0, 0));
}

/// Entities of 50 bytes in pages of 256, a hundredth of which change, here and there: every page does.
#[test]
fn of_changes_everywhere_only_those_are_stored() {
    let page = |number: u64, is_changed: bool| {
        let version = |at: u64| u64::from(is_changed && at % 100 == number % 100) << 40;
        (0..256).flat_map(|at| noise((number << 20) + at + version(at), 50)).collect::<Vec<u8>>()
    };
    let month = |is_changed| (0..200_u64).map(|it| (it.to_be_bytes().to_vec(), page(it, is_changed))).collect();
    let before = pieces(&month(false), Sizes::STORED);
    let manifest = Manifest { pieces: before.iter().map(|piece| Piece::pack(piece).unwrap().0).collect() };
    let before: BTreeMap<PieceId, Vec<u8>> = before.into_iter().map(|piece| (PieceId::of(&piece), piece)).collect();
    let mut known = Known::new(manifest.clone(), manifest.names().collect());
    let (mut all, mut new) = (0, 0);
    for bytes in pieces(&month(true), Sizes::STORED) {
        let (whole, _) = Piece::pack(&bytes).unwrap();
        let Found::New { like: Some(like) } = known.find(whole.name.id) else { continue };
        let (piece, packed) = whole.pack_against(&bytes, like, &before[&like]).unwrap();
        assert_eq!(piece.unpack(&packed, &before[&like]), Some(bytes));
        (all, new) = (all + whole.stored, new + piece.stored);
    }
    assert!(all > 2_000_000 && new < all / 30, "{new} of {all}");
}

#[test]
fn a_row_is_divided_only_where_it_is_longer_than_a_piece() {
    let sizes = Sizes { usual: 64, most: 100 };
    let rows: Rows = [(vec![1], vec![7; 40]), (vec![2], vec![8; 250]), (vec![3], vec![9; 60])].into();
    let cut = pieces(&rows, sizes);
    let lengths: Vec<usize> = cut.iter().map(Vec::len).collect();
    // The first is followed by one that does not fit behind it, the last by how many there are.
    assert_eq!(lengths, [49, 100, 100, 59, 69, 8]);
    assert_eq!(read(&cut.concat()).unwrap(), rows);
}

#[test]
fn a_piece_is_known_by_its_bytes() {
    let bytes = noise(1, 5_000);
    let (piece, packed) = Piece::pack(&bytes).unwrap();
    assert_eq!((piece.name.id, piece.bytes, piece.stored as usize), (PieceId::of(&bytes), 5_000, packed.len()));
    assert_eq!(piece.unpack(&packed, b""), Some(bytes.clone()));
    assert_eq!(piece.name.to_string().parse::<PieceName>().unwrap(), piece.name);
    let (other, others) = Piece::pack(&noise(2, 5_000)).unwrap();
    assert!(piece.unpack(&others, b"").is_none() && other.unpack(&packed, b"").is_none());
    assert!(piece.unpack(&packed[..packed.len() - 1], b"").is_none() && piece.unpack(b"", b"").is_none());
    let (_, longer) = Piece::pack(&noise(1, 5_001)).unwrap();
    assert!(piece.unpack(&longer, b"").is_none());
}

#[test]
fn of_a_piece_that_changed_a_little_only_that_is_stored() {
    let base = noise(1, 60_000);
    let mut bytes = base.clone();
    for at in [5, 20_000, 59_000] {
        bytes[at..at + 20].copy_from_slice(&noise(at as u64, 20));
    }
    bytes.splice(40_000..40_000, noise(9, 30));
    let (whole, _) = Piece::pack(&bytes).unwrap();
    let (piece, packed) = whole.pack_against(&bytes, PieceId::of(&base), &base).unwrap();
    assert!(packed.len() < 400 && packed.len() == piece.stored as usize, "{}", packed.len());
    assert_eq!(piece.name, PieceName { id: whole.name.id, base: Some(PieceId::of(&base)) });
    assert_eq!(piece.unpack(&packed, &base), Some(bytes.clone()));
    assert_eq!(piece.name.to_string().parse::<PieceName>().unwrap(), piece.name);
    assert!(piece.unpack(&packed, &bytes).is_none() && piece.unpack(&packed, b"").is_none());
    assert!(whole.unpack(&packed, &base).is_none());
    for length in (10_000..=Sizes::STORED.most).step_by(12_000) {
        let base = noise(3, length);
        let mut bytes = base.clone();
        bytes.chunks_mut(4_000).for_each(|page| page[..40].fill(7));
        let (whole, _) = Piece::pack(&bytes).unwrap();
        let (piece, packed) = whole.pack_against(&bytes, PieceId::of(&base), &base).unwrap();
        assert!(packed.len() < 100 + length / 100, "{} of {length}", packed.len());
        assert_eq!(piece.unpack(&packed, &base), Some(bytes));
    }
    // Of one that has little in common, all is stored.
    assert!(whole.pack_against(&bytes, PieceId::of(b""), &noise(2, 60_000)).is_none());
    // Bytes that look like a dictionary of zstandard's, and are none.
    let odd = [&[0x37, 0xa4, 0x30, 0xec], &base[..]].concat();
    if let Some((piece, packed)) = whole.pack_against(&bytes, PieceId::of(&odd), &odd) {
        assert_eq!(piece.unpack(&packed, &odd), Some(bytes));
    }
}

#[test]
fn a_piece_is_compared_with_the_one_in_its_place() {
    let pieces: Vec<Piece> = (0..6_u8).map(|it| Piece::pack(&[it]).unwrap().0).collect();
    let id = |it: u8| PieceId::of(&[it]);
    let mut manifest = Manifest { pieces };
    // The one but last is stored as what differs from another one.
    manifest.pieces[4].name.base = Some(id(40));
    let there: BTreeSet<PieceName> = manifest.names().filter(|name| name.id != id(2)).collect();
    assert!(there.contains(&PieceName::whole(id(40))) && there.len() == 6);
    let mut known = Known::new(manifest.clone(), there.clone());
    let new = |like: Option<u8>| Found::New { like: like.map(id) };
    let found: Vec<Found> = [0, 100, 2, 101, 102, 103, 104].map(|it| known.find(id(it))).into();
    assert_eq!(found[0], Found::There(manifest.pieces[0]));
    // 100 in the place of 1; 2 is not there any more; 101 in the place of 3, 102 in that of 4, whose base is 40.
    assert_eq!(found[1..], [new(Some(1)), new(None), new(Some(3)), new(Some(40)), new(Some(5)), new(None)]);
    assert_eq!(known.find(id(4)), Found::There(manifest.pieces[4]));
    let mut known = Known::new(manifest, there.into_iter().filter(|name| name.id != id(40)).collect());
    assert_eq!(known.find(id(4)), new(None), "without its base it cannot be read");
    assert_eq!(Known::default().find(id(4)), new(None));
}

#[test]
fn the_largest_piece_fits_where_it_is_stored() {
    let (piece, packed) = Piece::pack(&noise(1, Sizes::STORED.most)).unwrap();
    assert!(packed.len() > Sizes::STORED.most && piece.stored <= MAX_STORED_BYTES, "{piece:?}");
    let manifest = Manifest { pieces: vec![piece] };
    assert_eq!(Manifest::decode(&manifest.encode()), Some(manifest));
}

#[test]
fn a_manifest_has_these_bytes() {
    let name = PieceName::whole(PieceId([0xab; 32]));
    let piece = Piece { name, bytes: 0x0001_0203, stored: 0x0000_0405 };
    let other = Piece { name: PieceName { base: Some(PieceId([0xcd; 32])), ..name }, ..piece };
    let manifest = Manifest { pieces: vec![piece, other] };
    let entry = [&[0xab; 32][..], &[0, 1, 2, 3, 0, 0, 4, 5, 0]].concat();
    let with_base = [&[0xab; 32][..], &[0, 1, 2, 3, 0, 0, 4, 5, 1], &[0xcd; 32]].concat();
    assert_eq!(manifest.encode(), [&[1], &entry[..], &with_base[..]].concat());
    assert_eq!(Manifest::decode(&manifest.encode()), Some(manifest));
    let odd = [
        [0, 0, 0, 0, 0, 0, 4, 5, 0],
        [0, 4, 0, 1, 0, 0, 4, 5, 0],
        [0, 1, 2, 3, 0, 0, 4, 5, 2],
        [0, 1, 2, 3, 1, 0, 0, 0, 0],
    ];
    for lengths in odd {
        assert_eq!(Manifest::decode(&[&[1][..], &[0xab; 32], &lengths].concat()), None, "{lengths:?}");
    }
    let short = [&[1], &with_base[..60]].concat();
    for bytes in [&[][..], &[1], &[2], &entry, &short, &[&[1], &entry[1..]].concat(), &[&[2], &entry[..]].concat()] {
        assert_eq!(Manifest::decode(bytes), None);
    }
}

#[test]
fn a_manifest_is_never_longer_than_readers_take() {
    let (whole, _) = Piece::pack(b"1").unwrap();
    let other = Piece { name: PieceName { base: Some(PieceId::of(b"2")), ..whole.name }, ..whole };
    let most = [&whole, &other, &whole].map(|piece| piece.listed_bytes()).iter().sum::<usize>() + 1;
    for (limit, fits) in [(most, true), (most - 1, false)] {
        let mut listing = Listing::within(limit);
        listing.add(whole).and_then(|()| listing.add(other)).unwrap();
        assert_eq!(listing.add(whole).is_ok(), fits);
        let bytes = listing.finish().encode().len();
        assert!(bytes <= limit && (bytes == limit) == fits, "{bytes} of {limit}");
    }
    let mut listing = Listing::within(most - 1);
    let error = (0..3).find_map(|_| listing.add(whole).and_then(|()| listing.add(other)).err()).unwrap().to_string();
    assert!(error.contains("after 2 pieces") && error.contains("keep days in correction"), "{error}");
    assert_eq!(Listing::default().most, MAX_MANIFEST_BYTES);
}

#[test]
fn a_piece_has_one_name() {
    let id = PieceId::of(b"a piece");
    let (lower, upper) = (id.to_string(), id.to_string().to_uppercase());
    assert_eq!(lower.parse(), Ok(id));
    assert_eq!(upper.parse::<PieceId>(), Err(NoPieceName));
    assert_eq!(format!("{lower}-{lower}").parse(), Ok(PieceName { id, base: Some(id) }));
    for odd in
        [upper.clone(), format!("{lower}-{upper}"), format!("{upper}-{lower}"), format!("{lower}-"), String::new()]
    {
        assert_eq!(odd.parse::<PieceName>(), Err(NoPieceName), "{odd}");
    }
}

#[test]
fn rows_that_are_too_few_are_refused() {
    let rows = month();
    let mut cut = pieces(&rows, Sizes::STORED);
    assert_eq!(read(&cut.concat()).unwrap(), rows);
    // Each of the others ends with a row.
    let missing = cut.remove(5);
    assert!(read(&cut.concat()).is_err());
    cut.insert(5, missing);
    cut.pop();
    assert!(read(&cut.concat()).is_err());
}

proptest! {
    #[test]
    fn a_piece_comes_back_whatever_it_is_compared_with(
        base in proptest::collection::vec(any::<u8>(), 0..2_000),
        from in 0_usize..2_000,
        change in proptest::collection::vec(any::<u8>(), 1..100),
    ) {
        let from = from.min(base.len());
        let bytes = [&base[..from], &change, &base[from..]].concat();
        let (whole, packed) = Piece::pack(&bytes).unwrap();
        prop_assert_eq!(whole.unpack(&packed, b""), Some(bytes.clone()));
        if let Some((piece, packed)) = whole.pack_against(&bytes, PieceId::of(&base), &base) {
            prop_assert_eq!(piece.unpack(&packed, &base), Some(bytes));
        }
    }

    #[test]
    fn rows_come_back_from_their_pieces(
        rows in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 0..6),
            proptest::collection::vec(any::<u8>(), 0..400),
            0..60,
        ),
        usual in 1_usize..300,
        more in 8_usize..300,
    ) {
        let sizes = Sizes { usual, most: usual + more };
        let cut = pieces(&rows, sizes);
        prop_assert!(cut.iter().all(|piece| (1..=sizes.most).contains(&piece.len())));
        prop_assert_eq!(read(&cut.concat()).unwrap(), rows);
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_or_not_at_all(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Some(manifest) = Manifest::decode(&bytes) {
            prop_assert_eq!(manifest.encode(), bytes);
        }
    }
}
