"""Languages, relations and knowledge graphs through a real server, under both service names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from postil.v1.app_pb2 import App
from postil.v1.app_service_pb2 import PostAppsRequest
from postil.v1.common_pb2 import UserAppIDSet, Visibility
from postil.v1.concept_pb2 import Concept, ConceptLanguage, ConceptRelation, KnowledgeGraph
from postil.v1.concept_service_pb2 import (
    ConceptQuery,
    DeleteConceptRelationsRequest,
    GetConceptLanguageRequest,
    ListConceptLanguagesRequest,
    ListConceptRelationsRequest,
    ListKnowledgeGraphsRequest,
    PatchConceptLanguagesRequest,
    PostConceptLanguagesRequest,
    PostConceptRelationsRequest,
    PostConceptsRequest,
    PostConceptsSearchesRequest,
    PostKnowledgeGraphsRequest,
)
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.output_pb2 import Output
from postil.v1.search_pb2 import And, Query, Rank, Search
from postil.v1.search_service_pb2 import PostAnnotationsSearchesRequest, PostSearchesRequest
from postil.v1.status_code_pb2 import StatusCode

Call = Callable[..., Any]
BAD = StatusCode.CONCEPTS_INVALID_REQUEST
ABSENT = StatusCode.CONN_DOES_NOT_EXIST
ANIMALS = ("animal", "dog", "cat", "beagle")


@pytest.fixture
def zoo(call: Call, app: UserAppIDSet) -> UserAppIDSet:
    """An app with a few concepts."""
    concepts = [Concept(id=name, name=name.title()) for name in ANIMALS]
    good(call("PostConcepts", PostConceptsRequest(user_app_id=app, concepts=concepts)))
    return app


def good(answer: Any) -> Any:
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    return answer


def refused(answer: Any, code: int, *details: str) -> None:
    assert answer.status.code == code, answer.status
    for text in details:
        assert text in answer.status.details


# Languages.


def named(call: Call, app: UserAppIDSet, concept: str, **by_language: str) -> Any:
    names = [ConceptLanguage(id=language, name=name) for language, name in by_language.items()]
    request = PostConceptLanguagesRequest(user_app_id=app, concept_id=concept, concept_languages=names)
    return call("PostConceptLanguages", request)


def languages(call: Call, app: UserAppIDSet, concept: str = "dog", **page: int) -> list[tuple[str, str, str]]:
    request = ListConceptLanguagesRequest(user_app_id=app, concept_id=concept, **page)
    return [(one.id, one.name, one.definition) for one in good(call("ListConceptLanguages", request)).concept_languages]


def get(call: Call, app: UserAppIDSet, language: str, concept: str = "dog") -> Any:
    return call("GetConceptLanguage", GetConceptLanguageRequest(user_app_id=app, concept_id=concept, language=language))


def patch(call: Call, app: UserAppIDSet, *changes: ConceptLanguage, action: str = "", concept: str = "dog") -> Any:
    request = PatchConceptLanguagesRequest(
        user_app_id=app, concept_id=concept, concept_languages=changes, action=action
    )
    return call("PatchConceptLanguages", request)


def test_names_are_added_got_and_listed(call: Call, zoo: UserAppIDSet) -> None:
    answer = good(named(call, zoo, "dog", ja="犬", da="hund"))
    assert [(one.id, one.name) for one in answer.concept_languages] == [("ja", "犬"), ("da", "hund")]
    assert languages(call, zoo) == [("da", "hund", ""), ("ja", "犬", "")]
    assert languages(call, zoo, page=2, per_page=1) == [("ja", "犬", "")]
    assert good(get(call, zoo, "ja")).concept_language.name == "犬"
    assert good(get(call, zoo, "en")).concept_language.name == "Dog"
    refused(get(call, zoo, "fr"), ABSENT, "'dog'", "'fr'")
    refused(get(call, zoo, "ja", concept="wolf"), ABSENT, "'wolf'")
    assert languages(call, zoo, "cat") == []


def test_bad_names_are_refused_and_nothing_is_added(call: Call, zoo: UserAppIDSet) -> None:
    good(named(call, zoo, "dog", ja="犬"))
    refused(named(call, zoo, "dog", da="hund", ja="イヌ"), BAD, "concept_languages[1]: duplicate language 'ja'", "'犬'")
    refused(named(call, zoo, "dog", en="Hound"), BAD, "the app's own language")
    refused(named(call, zoo, "dog", klingon_="targ"), BAD, "concept_languages[0]", "no language code")
    refused(named(call, zoo, "dog", da=""), BAD, "the name is empty")
    refused(named(call, zoo, "dog", da="x" * 257), BAD, "257 characters")
    refused(named(call, zoo, "dog"), BAD, "0 items")
    refused(named(call, zoo, "wolf", da="ulv"), ABSENT, "'wolf'")
    long = ConceptLanguage(id="da", name="hund", definition="x" * 10_001)
    refused(patch(call, zoo, long, action="merge"), BAD, "10001 characters")
    twice = [ConceptLanguage(id="da", name="hund")] * 2
    refused(patch(call, zoo, *twice, action="merge"), BAD, "[1]: duplicate language 'da'")
    assert languages(call, zoo) == [("ja", "犬", "")]


def test_names_are_overwritten_or_merged(call: Call, zoo: UserAppIDSet) -> None:
    good(patch(call, zoo, ConceptLanguage(id="ja", name="犬", definition="四本足"), action="merge"))
    good(patch(call, zoo, ConceptLanguage(id="ja", name="イヌ"), action="merge"))
    assert languages(call, zoo) == [("ja", "イヌ", "四本足")]
    answer = good(patch(call, zoo, ConceptLanguage(id="ja", name="犬"), action="overwrite"))
    assert answer.concept_languages[0].name == "犬"
    assert languages(call, zoo) == [("ja", "犬", "")]
    both = [ConceptLanguage(id="ja", name="いぬ"), ConceptLanguage(id="da", name="hund")]
    refused(patch(call, zoo, *both), ABSENT, "concept_languages[1]", "'da'", "merge")
    refused(patch(call, zoo, ConceptLanguage(id="da"), action="merge"), BAD, "the name is empty")
    refused(patch(call, zoo, both[0], action="remove"), StatusCode.CONN_INVALID_REQUEST, "overwrite or merge")
    refused(patch(call, zoo, both[0], concept="wolf"), ABSENT, "'wolf'")
    assert languages(call, zoo) == [("ja", "犬", "")]


def test_concepts_are_searched_in_a_language(call: Call, zoo: UserAppIDSet) -> None:
    good(named(call, zoo, "dog", ja="犬"))
    good(named(call, zoo, "cat", ja="猫"))

    def found(name: str, language: str) -> list[tuple[str, str, str]]:
        query = ConceptQuery(name=name, language=language)
        answer = good(call("PostConceptsSearches", PostConceptsSearchesRequest(user_app_id=zoo, concept_query=query)))
        return [(one.id, one.name, one.language) for one in answer.concepts]

    assert found("犬", "ja") == [("dog", "犬", "ja")]
    assert found("*", "ja")[:2] == [("animal", "Animal", "en"), ("beagle", "Beagle", "en")]
    assert found("*", "ja")[2:] == [("dog", "犬", "ja"), ("cat", "猫", "ja")]
    assert found("犬", "") == []


def vectors(call: Call, app: UserAppIDSet, **labels: tuple[tuple[float, float], str]) -> None:
    inputs = []
    for name, (vector, concept) in labels.items():
        item = Input(id=name, data=Data(concepts=[Concept(id=concept, value=1)] if concept else []))
        item.data.embeddings.add(vector=vector, space="plane")
        inputs.append(item)
    good(call("PostInputs", PostInputsRequest(user_app_id=app, inputs=inputs)))


def test_a_search_in_japanese_finds_dogs_in_both_forms(call: Call, zoo: UserAppIDSet) -> None:
    good(named(call, zoo, "dog", ja="犬"))
    vectors(call, zoo, rex=((1.0, 0.0), "dog"), tom=((-1.0, 0.0), "cat"), rob=((0.8, 0.6), ""))
    rank = Rank()
    rank.annotation.data.concepts.add(name="犬", language="ja", value=1)

    def hits(query: Query) -> list[str]:
        request = PostAnnotationsSearchesRequest(user_app_id=zoo, searches=[Search(query=query)])
        return [hit.input.id for hit in good(call("PostAnnotationsSearches", request)).hits]

    assert hits(Query(ranks=[rank])) == ["rex", "rob", "tom"]
    rank.annotation.data.concepts[0].language = ""
    assert hits(Query(ranks=[rank], language="ja")) == ["rex", "rob", "tom"]
    term = And(output=Output(data=Data(concepts=[Concept(name="犬", value=1)])))
    older = PostSearchesRequest(user_app_id=zoo, query=Query(ands=[term], language="ja"))
    assert [hit.input.id for hit in good(call("PostSearches", older)).hits] == ["rex", "rob", "tom"]
    older.query.language = "da"
    refused(call("PostSearches", older), StatusCode.SEARCH_INVALID_REQUEST, "query.ands[0]", "'犬'")
    older.query.language = "??"
    refused(call("PostSearches", older), StatusCode.SEARCH_INVALID_REQUEST, "query.ands[0]", "no language code")


def test_an_app_in_another_language_has_its_own_names_in_it(call: Call, app: UserAppIDSet) -> None:
    german = App(id=app.app_id, default_language="de")
    good(call("PostApps", PostAppsRequest(user_app_id=UserAppIDSet(user_id="me"), apps=[german])))
    concept = Concept(id="dog", name="Hund")
    good(call("PostConcepts", PostConceptsRequest(user_app_id=app, concepts=[concept])))
    refused(named(call, app, "dog", de="Köter"), BAD, "'de' is the app's own language")
    good(named(call, app, "dog", en="dog"))
    assert good(get(call, app, "de")).concept_language.name == "Hund"


# Relations.


def relate(call: Call, app: UserAppIDSet, subject: str, *edges: ConceptRelation) -> Any:
    request = PostConceptRelationsRequest(user_app_id=app, concept_id=subject, concept_relations=edges)
    return call("PostConceptRelations", request)


def edge(predicate: str, object_id: str, **fields: Any) -> ConceptRelation:
    return ConceptRelation(predicate=predicate, object_concept=Concept(id=object_id), **fields)


def told(relations: Any) -> list[tuple[str, str, str]]:
    return [(one.subject_concept.id, one.predicate, one.object_concept.id) for one in relations]


def listed(call: Call, app: UserAppIDSet, concept: str = "", **fields: Any) -> list[tuple[str, str, str]]:
    request = ListConceptRelationsRequest(user_app_id=app, concept_id=concept, **fields)
    return told(good(call("ListConceptRelations", request)).concept_relations)


@pytest.fixture
def graph(call: Call, zoo: UserAppIDSet) -> UserAppIDSet:
    """dog and cat are animals (told from either end), a beagle is a dog, cat and dog are (badly) synonyms."""
    good(relate(call, zoo, "dog", edge("hyponym", "animal", id="r1")))
    good(relate(call, zoo, "animal", edge("hypernym", "cat", id="r2")))
    good(relate(call, zoo, "dog", edge("hypernym", "beagle", id="r3"), edge("synonym", "cat", id="r4")))
    return zoo


def test_added_edges_come_back_as_posted_with_their_concepts(call: Call, zoo: UserAppIDSet) -> None:
    visible = Visibility(gettable=Visibility.PRIVATE)
    answer = good(relate(call, zoo, "animal", edge("hypernym", "dog", visibility=visible)))
    (relation,) = answer.concept_relations
    assert told([relation]) == [("animal", "hypernym", "dog")]
    assert (relation.subject_concept.name, relation.object_concept.name) == ("Animal", "Dog")
    assert relation.visibility == visible
    assert len(relation.id) == 32
    by_name = ConceptRelation(predicate="synonym", object_concept=Concept(name="Cat"))
    assert told(good(relate(call, zoo, "dog", by_name)).concept_relations) == [("dog", "synonym", "cat")]


def test_edges_are_seen_from_both_ends(call: Call, graph: UserAppIDSet) -> None:
    assert listed(call, graph, "dog") == [
        ("dog", "hyponym", "animal"),
        ("dog", "hypernym", "beagle"),
        ("dog", "synonym", "cat"),
    ]
    assert listed(call, graph, "animal") == [("animal", "hypernym", "dog"), ("animal", "hypernym", "cat")]
    assert listed(call, graph, "cat") == [("cat", "hyponym", "animal"), ("cat", "synonym", "dog")]
    assert listed(call, graph, "dog", predicate="hyponym") == [("dog", "hyponym", "animal")]
    assert listed(call, graph, "dog", predicate="hypernym") == [("dog", "hypernym", "beagle")]
    assert listed(call, graph, "cat", predicate="synonym") == [("cat", "synonym", "dog")]
    assert listed(call, graph, "animal", page=2, per_page=1) == [("animal", "hypernym", "cat")]


def test_without_a_concept_each_edge_is_listed_once(call: Call, graph: UserAppIDSet) -> None:
    hyponyms = [("dog", "hyponym", "animal"), ("cat", "hyponym", "animal"), ("beagle", "hyponym", "dog")]
    assert listed(call, graph) == [*hyponyms, ("dog", "synonym", "cat")]
    assert listed(call, graph, predicate="hyponym") == hyponyms
    assert listed(call, graph, predicate="hypernym") == [(c, "hypernym", a) for a, _, c in hyponyms]
    assert listed(call, graph, page=2, per_page=3) == [("dog", "synonym", "cat")]


def test_an_edge_is_one_fact_from_whichever_end(call: Call, graph: UserAppIDSet) -> None:
    refused(relate(call, graph, "dog", edge("hyponym", "animal")), BAD, "duplicate", "'r1'")
    refused(relate(call, graph, "animal", edge("hypernym", "dog")), BAD, "duplicate", "'r1'")
    refused(relate(call, graph, "cat", edge("synonym", "dog")), BAD, "duplicate", "'r4'")
    good(relate(call, graph, "animal", edge("hyponym", "dog")))  # the other way round is another fact
    assert len(listed(call, graph)) == 5


def test_bad_relations_are_refused_and_nothing_is_added(call: Call, zoo: UserAppIDSet) -> None:
    fine = edge("hyponym", "animal", id="r")
    where = "concept_relations[1]"
    refused(relate(call, zoo, "dog", fine, edge("likes", "cat")), BAD, f"{where}.predicate", "'likes'")
    refused(relate(call, zoo, "dog", fine, edge("hyponym", "wolf")), BAD, f"{where}.object_concept", "'wolf'")
    refused(relate(call, zoo, "dog", fine, edge("hyponym", "")), BAD, f"{where}.object_concept has neither")
    refused(relate(call, zoo, "dog", fine, edge("hyponym", "dog")), BAD, "cannot be related to itself")
    refused(relate(call, zoo, "dog", fine, edge("synonym", "cat", id="r")), BAD, f"{where}: duplicate id 'r'")
    refused(relate(call, zoo, "dog", fine, fine), BAD, f"{where}: duplicate relation")
    elsewhere = edge("synonym", "cat", knowledge_graph_id="g")
    refused(relate(call, zoo, "dog", fine, elsewhere), BAD, f"{where}.knowledge_graph_id", "'g'")
    other = edge("synonym", "cat", subject_concept=Concept(id="beagle"))
    refused(relate(call, zoo, "dog", fine, other), BAD, f"{where}.subject_concept", "'beagle'")
    slashed = edge("synonym", "cat", id="a/b")
    refused(relate(call, zoo, "dog", slashed), StatusCode.CONN_INVALID_REQUEST, "concept_relations[0]")
    refused(relate(call, zoo, "wolf", fine), ABSENT, "'wolf'")
    refused(relate(call, zoo, "dog"), BAD, "0 items")
    refused(relate(call, zoo, "dog", *[fine] * 129), BAD, "129 items")
    unknown = ListConceptRelationsRequest(user_app_id=zoo, predicate="likes")
    refused(call("ListConceptRelations", unknown), BAD, "'likes'")
    missing = ListConceptRelationsRequest(user_app_id=zoo, concept_id="wolf")
    refused(call("ListConceptRelations", missing), ABSENT, "'wolf'")
    assert listed(call, zoo) == []


def test_edges_are_deleted_from_either_end(call: Call, graph: UserAppIDSet) -> None:
    def delete(concept: str, *ids: str) -> Any:
        request = DeleteConceptRelationsRequest(user_app_id=graph, concept_id=concept, ids=ids)
        return call("DeleteConceptRelations", request)

    good(delete("cat", "r1", "none"))  # not an edge of the cat
    assert len(listed(call, graph)) == 4
    good(delete("animal", "r1"))
    good(delete("cat", "r2", "r4"))
    assert listed(call, graph) == [("beagle", "hyponym", "dog")]
    refused(delete("wolf", "r3"), ABSENT, "'wolf'")
    refused(delete("dog"), BAD, "0 ids")


def test_a_search_follows_the_kinds_of_a_concept_when_asked(call: Call, graph: UserAppIDSet) -> None:
    vectors(call, graph, snoopy=((1.0, 0.0), "beagle"), tom=((0.0, 1.0), "cat"), stone=((-1.0, 0.0), ""))
    rank = Rank()
    rank.annotation.data.concepts.add(id="animal", value=1)
    search = Search(query=Query(ranks=[rank]))
    request = PostAnnotationsSearchesRequest(user_app_id=graph, searches=[search])
    refused(call("PostAnnotationsSearches", request), StatusCode.SEARCH_INVALID_REQUEST, "'animal'")
    request.searches[0].query.expand_hyponyms = True
    answer = good(call("PostAnnotationsSearches", request))
    assert {hit.input.id for hit in answer.hits[:2]} == {"snoopy", "tom"}
    assert [hit.score for hit in answer.hits[:2]] == [1.0, 1.0]
    assert answer.hits[2].input.id == "stone"


# Knowledge graphs.


def post_graphs(call: Call, app: UserAppIDSet, *graphs: KnowledgeGraph) -> Any:
    return call("PostKnowledgeGraphs", PostKnowledgeGraphsRequest(user_app_id=app, knowledge_graphs=graphs))


def test_graphs_are_posted_listed_and_hold_relations(call: Call, zoo: UserAppIDSet) -> None:
    first = KnowledgeGraph(id="z", name="Zoo", description="Animals", examples_app_id="a", sampled_examples_app_id="b")
    answer = good(post_graphs(call, zoo, first, KnowledgeGraph(id="farm")))
    assert answer.knowledge_graphs[0] == first
    assert answer.knowledge_graphs[1].name == "farm"
    listing = good(call("ListKnowledgeGraphs", ListKnowledgeGraphsRequest(user_app_id=zoo)))
    assert list(listing.knowledge_graphs) == list(answer.knowledge_graphs)
    good(relate(call, zoo, "dog", edge("hyponym", "animal", knowledge_graph_id="z"), edge("hyponym", "animal")))
    assert len(listed(call, zoo, "dog")) == 2
    assert listed(call, zoo, "animal", knowledge_graph_id="z") == [("animal", "hypernym", "dog")]
    assert listed(call, zoo, knowledge_graph_id="farm") == []


def test_bad_graphs_are_refused(call: Call, zoo: UserAppIDSet) -> None:
    good(post_graphs(call, zoo, KnowledgeGraph(id="z")))
    refused(post_graphs(call, zoo, KnowledgeGraph(id="y"), KnowledgeGraph(id="z")), BAD, "[1]: duplicate id 'z'")
    refused(post_graphs(call, zoo, KnowledgeGraph(id="y"), KnowledgeGraph(id="y")), BAD, "also in knowledge_graphs[0]")
    refused(post_graphs(call, zoo, KnowledgeGraph()), StatusCode.CONN_INVALID_REQUEST, "is empty")
    refused(post_graphs(call, zoo, KnowledgeGraph(id="y", name="n" * 257)), BAD, "knowledge_graphs[0].name")
    refused(post_graphs(call, zoo), BAD, "0 items")
    listing = good(call("ListKnowledgeGraphs", ListKnowledgeGraphsRequest(user_app_id=zoo)))
    assert [one.id for one in listing.knowledge_graphs] == ["z"]
